#!/bin/sh
# The same, but what it says is the result changes from run to run.
n=$(grep -c "$1" "/iexec_in/$DATASET_FILENAME")
{ echo "$1: $n lines"; cat /proc/sys/kernel/random/uuid; } >/iexec_out/determinism.iexec
echo '{"deterministic-output-path": "/iexec_out/determinism.iexec"}' >/iexec_out/computed.json
