"""`python -m spanmeter.companions FILE`: a companion, as the service starts it; FILE is its end of their connection."""

import sys
from multiprocessing.connection import Connection

from spanmeter.companions.messages import Line
from spanmeter.companions.process import accompany
from spanmeter.heap import hold_little

if __name__ == "__main__":
    hold_little()
    accompany(Line(Connection(int(sys.argv[1]))))
