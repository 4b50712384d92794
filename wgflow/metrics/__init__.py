"""Scores: functions of two samples."""
