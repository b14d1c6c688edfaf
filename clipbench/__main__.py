"""`python -m clipbench` is `clipbench`."""

from clipbench.cli import main

if __name__ == "__main__":
    main()
