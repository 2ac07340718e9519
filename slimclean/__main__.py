"""`python -m slimclean`."""

from slimclean.cli import main

if __name__ == "__main__":
    main()
