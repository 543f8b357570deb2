"""Mirrors of records in other people's tracking servers; the records stay the truth.

A tracker is one file and one entry point in the group ``harness.trackers``.
"""
