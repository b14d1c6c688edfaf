"""How large a spec may be: what is beyond these is a slip of the keyboard, and is said before it fills a memory."""

LARGEST_SEED = 2**63 - 1  # torch takes no more
LARGEST = 10**15  # of what is counted: far beyond any run, and exact as a float, which 10^400 is not at all

# Every seed is a run of every arm: with ten arms these are the ten thousand runs that comparing is measured at. No
# study needs more to show a difference.
MOST_SEEDS = 1_000
MOST_SETTINGS = 1_000  # of one arm, as trials or as a grid's points, each a run for every seed: for the same reason
MOST_RUNS = 50_000  # of one spec, with its trials: a plan holds all of them in memory
MOST_PROCESSES = 64  # of one run, all on one machine: no machine has so many GPUs
MOST_THREADS = 1_024  # more than any machine has use for: the first run with a million would take the machine with it

MOST_BYTES = 100_000  # of the file: far more than a study needs, and read in two seconds
LONGEST_KEY = 1024  # by YAML itself, for a key that stands before its colon
DEEPEST = 20  # levels of lists and mappings
LONGEST_FOLDER = 255  # bytes in a name on the disks that there are
