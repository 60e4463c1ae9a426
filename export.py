"""Writes a run as a release folder: `python export.py run=runs/NAME/… output=weights/NAME`."""

from longtake.cli.export import main

if __name__ == "__main__":
    main()
