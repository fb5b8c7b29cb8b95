"""What the binary runs: the `dispatchd` command, as a program that was unpacked a moment ago."""

from multiprocessing import freeze_support

if __name__ == "__main__":
    freeze_support()  # first: helper processes of the standard library begin and end here

    from dispatchd import onefile

    onefile.settle()

    from dispatchd.cli import main

    main()
