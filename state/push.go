package state

import (
	"bytes"
	"fmt"
)

// CheckPush tells whether a snapshot from elsewhere may replace the stored one: it must be of the same lineage and newer, or
// the same. force allows any. Whoever may go on sets the serial that the store wants: the stored one plus one.
func CheckPush(stored, pushed *Snapshot, force bool) error {
	switch {
	case force || stored.Serial == 0 && stored.Lineage == "":
		return nil
	case stored.Lineage != pushed.Lineage:
		return fmt.Errorf("the stored state has lineage %q and the pushed one %q: they are not of the same project; "+
			"if it is meant to be replaced, push with --force", stored.Lineage, pushed.Lineage)
	case pushed.Serial < stored.Serial:
		return fmt.Errorf("the stored state has serial %d and the pushed one %d: it is older and would undo what was "+
			"remembered since; if that is meant, push with --force", stored.Serial, pushed.Serial)
	case pushed.Serial == stored.Serial:
		was, err := Encode(stored)
		if err != nil {
			return err
		}
		is, err := Encode(pushed)
		if err != nil {
			return err
		}
		if !bytes.Equal(was, is) {
			return fmt.Errorf("the stored state and the pushed one both have serial %d, and differ: two runs went on from the same state, and one would be undone; "+
				"if that is meant, push with --force", stored.Serial)
		}
	}
	return nil
}
