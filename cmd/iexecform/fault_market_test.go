package main

// marketFaults are the scenarios of images and the market, B-30 to B-42.
func marketFaults() []scenario { return nil }
