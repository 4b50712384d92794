"""``python -m wgflow``."""

from wgflow.cli import main

if __name__ == "__main__":
    main()
