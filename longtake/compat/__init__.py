"""What this project needs of a library beyond its public interface, or equal on each of its versions.

One module a library; each names the versions that it was tested on. Networks keep theirs in `networks.compat`.
"""
