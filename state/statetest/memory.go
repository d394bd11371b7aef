package statetest

import "github.com/iexecform/iexecform/state/memory"

// Memory is a store whose faults tests choose.
type Memory = memory.Store

// The steps of Memory at which Fault is asked.
const (
	BeforeAppend  = memory.BeforeAppend
	AfterAppend   = memory.AfterAppend
	BeforeCompact = memory.BeforeCompact
	Compacting    = memory.Compacting
	AfterCompact  = memory.AfterCompact
)
