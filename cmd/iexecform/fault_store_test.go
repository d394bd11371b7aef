package main

// storeFaults are the scenarios of remote states, B-51 and B-52.
func storeFaults() []scenario { return nil }
