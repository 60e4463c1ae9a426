"""Scores a folder of videos, lays it out for VBench (`vbench=…`), or predicts what a video costs (`cost=true`)."""

from longtake.cli.evaluate import main

if __name__ == "__main__":
    main()
