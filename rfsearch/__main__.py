"""``python -m rfsearch``, which is how torchrun starts it."""

from rfsearch.cli import app

if __name__ == "__main__":
    app(prog_name="rfsearch")
