"""``python -m wgflow``, and the command ``wgflow``."""

from wgflow._signals import leaving


def main() -> None:
    """Run the command line; a signal ends it with one line even before it is imported."""
    leaving()
    from wgflow.cli import main

    main()


if __name__ == "__main__":
    main()
