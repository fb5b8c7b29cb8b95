"""What the binary runs: the `dispatchd` command, as a program that was unpacked a moment ago."""

if __name__ == "__main__":
    from dispatchd import onefile

    onefile.settle()

    from dispatchd.cli import main

    main()
