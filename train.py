"""Trains what the config says: `python train.py`, `python train.py experiment=…`, any `key=value`."""

from longtake.cli.train import main

if __name__ == "__main__":
    main()
