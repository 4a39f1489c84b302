"""Declarations (functions and classes): how they freeze, and what says whether they may."""
