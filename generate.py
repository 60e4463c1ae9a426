"""Makes long videos: `python generate.py num_frames=257 seed=0 output=DIR`, from a video, or from a storyboard."""

from longtake.cli.generate import main

if __name__ == "__main__":
    main()
