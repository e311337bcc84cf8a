"""`python -m dpo_credit`."""

from dpo_credit.cli.app import main

if __name__ == "__main__":
    main()
