package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/providers"
)

// What lifecycle blocks do to a plan. The provider sees their effect only: a desired value in which ignored attributes are
// as they are, and a wish to replace. Protection is remembered in the state and outlives the block: it ends when a block
// that doesn't ask for it is applied. An object that nobody configures any more may be forgotten while it is protected, but
// not ended.

// prepare makes a request as the instance's lifecycle block wants it, and returns why it is to be replaced, or "".
func (b *builder) prepare(req *providers.PlanRequest, in config.Instance) (triggered string) {
	if in.Lifecycle == nil || req.Prior.IsNull() {
		return ""
	}
	req.Desired = in.Lifecycle.Ignoring(b.Providers.ResourceTable(in.Addr.Resource.Type), req.Desired, req.Current)
	for _, t := range in.Lifecycle.Triggers {
		if b.triggers(t) {
			req.Replace = true
			return fmt.Sprintf("replace_triggered_by: %s changes", triggerText(t))
		}
	}
	return ""
}

// tainted reports whether the state says that the object is to be replaced.
func (o *object) tainted() bool { return o != nil && o.stored != nil && o.stored.Tainted }

// triggers reports whether what replace_triggered_by names changes. What begins to exist is no change.
func (b *builder) triggers(t config.Trigger) bool {
	c := b.proposed(t.Addr)
	switch {
	case c == nil || c.before.IsNull() || c.Planned.IsNull():
		return false
	case len(t.Attr) == 0:
		return c.Kind == providers.Replace || c.Kind == providers.Update && !c.before.Equal(c.Planned)
	}
	before, diags := t.Attr.TraverseRel(c.before.Cty())
	after, more := t.Attr.TraverseRel(c.Planned.Cty())
	if diags.HasErrors() || more.HasErrors() { // what is there on one side only differs
		return diags.HasErrors() != more.HasErrors()
	}
	return !before.RawEquals(after)
}

func triggerText(t config.Trigger) string {
	text := t.Addr.String()
	for _, step := range t.Attr {
		switch step := step.(type) {
		case hcl.TraverseAttr:
			text += "." + step.Name
		case hcl.TraverseIndex:
			key, _ := addr.KeyOf(step.Key)
			text += key.String()
		}
	}
	return text
}

// protect takes up what the instance's lifecycle block says of a result that is proposed already.
func (b *builder) protect(in config.Instance, c *proposal, triggered string) hcl.Diagnostics {
	c.protected = in.Lifecycle != nil && in.Lifecycle.Protected
	if c.triggered = triggered != "" && c.Kind == providers.Replace; c.triggered {
		c.Because = append([]string{triggered}, c.Because...)
	}
	switch {
	case c.protected && c.Kind == providers.Replace:
		return hcl.Diagnostics{in.Diagnostic(hcl.DiagError, "", protectedSummary, fmt.Sprintf(
			"%s must be replaced%s, but its lifecycle block has prevent_destroy. Undo the change that needs it, or set prevent_destroy = false.",
			in.Addr, becauseText(c.Because)))}
	case c.Kind == providers.NoOp && c.object.stored != nil && c.object.stored.Protected != c.protected:
		c.Kind, c.Because = providers.Update, append(c.Because, fmt.Sprintf("prevent_destroy is now %t", c.protected))
	}
	return nil
}

const protectedSummary = "Instance cannot be destroyed"

func becauseText(reasons []string) string {
	if len(reasons) == 0 {
		return ""
	}
	return " (" + strings.Join(reasons, "; ") + ")"
}

// prevented is the error about an object that is to go though it is protected; nil when it may go.
func (b *builder) prevented(i addr.Instance) *hcl.Diagnostic {
	object := b.State.Snapshot.Resources[i]
	literal := b.Mode == Destroy && b.Config.Protects(i.Resource)
	switch {
	case !object.Protected && !literal, b.Unprotected, b.removal(i) == schema.RemoveForget:
		return nil
	case b.Mode == Destroy:
		return errorf(protectedSummary, "%s is protected by prevent_destroy. Set prevent_destroy = false in its lifecycle block and apply that first, or choose with --target what is to go.", i)
	}
	return errorf(protectedSummary, "%s is protected: it was applied with prevent_destroy, which holds although %s. "+
		"Ending it takes two steps: put it back with prevent_destroy = false and apply, then remove it. "+
		"To leave it as it is and only forget it, write a block: removed { from = %s, mode = \"forget\" }", i, b.goneBecause(i), i)
}

// Reason is why an object is replaced or goes, or a data source is read late, in Terraform's words for it.
type Reason string

// The reasons. ReasonNone is that of all other changes.
const (
	ReasonNone         Reason = ""
	ReasonCannotUpdate Reason = "replace_because_cannot_update"
	ReasonRequested    Reason = "replace_by_request"
	ReasonTriggered    Reason = "replace_by_triggers"
	ReasonTainted      Reason = "replace_because_tainted"
	// Of data sources that are read after the actions.
	ReasonConfigUnknown     Reason = "read_because_config_unknown"
	ReasonDependencyPending Reason = "read_because_dependency_pending"
	ReasonCheckNested       Reason = "read_because_check_nested"

	ReasonNoConfig   Reason = "delete_because_no_resource_config"
	ReasonNoModule   Reason = "delete_because_no_module"
	ReasonRepetition Reason = "delete_because_wrong_repetition"
	ReasonCountIndex Reason = "delete_because_count_index"
	ReasonEachKey    Reason = "delete_because_each_key"
)

// reason is why a change is one that takes something away.
func (b *builder) reason(c *proposal) Reason {
	switch {
	case c.Kind == providers.Replace && c.triggered:
		return ReasonTriggered
	case c.Kind == providers.Replace && matches(b.Replace, c.addr):
		return ReasonRequested
	case c.Kind == providers.Replace && c.object.tainted():
		return ReasonTainted
	case c.Kind == providers.Replace:
		return ReasonCannotUpdate
	case c.removed && b.Mode == Normal:
		reason, _ := b.gone(c.addr)
		return reason
	}
	return ReasonNone
}

// gone is why the configuration doesn't have an instance that the state knows.
func (b *builder) gone(i addr.Instance) (Reason, string) {
	repetition, ok := b.Config.Repetition(i.Resource)
	switch {
	case b.evaluation != nil && !b.evaluation.HasModule(i.Resource.Module):
		return ReasonNoModule, fmt.Sprintf("%s is not in the configuration", i.Resource.Module)
	case !ok:
		return ReasonNoConfig, fmt.Sprintf("%s is no longer in the configuration", i.Resource)
	case repetition == config.ByCount && i.Key.IsInt():
		return ReasonCountIndex, fmt.Sprintf("index %s is out of range for count", i.Key)
	case repetition == config.ByEach && !i.Key.IsInt() && !i.Key.IsZero():
		return ReasonEachKey, fmt.Sprintf("key %s is not in for_each", i.Key)
	case repetition == config.ByCount:
		return ReasonRepetition, "the block has count now"
	case repetition == config.ByEach:
		return ReasonRepetition, "the block has for_each now"
	}
	return ReasonRepetition, "the block has neither count nor for_each any more"
}

func (b *builder) goneBecause(i addr.Instance) string {
	_, text := b.gone(i)
	return text
}

// explainGone puts in front of a provider's reasons why an object goes at all, unless a removed block has said it.
func (b *builder) explainGone(i addr.Instance, result *providers.PlanResult) {
	if b.Mode == Normal && b.removal(i) == schema.RemoveDefault {
		result.Because = slices.Insert(slices.Clone(result.Because), 0, b.goneBecause(i))
	}
}
