# A policy for Terraform's JSON plans: it knows resource_changes, and nothing of iexecform. `opa eval`, conftest and other
# tools evaluate it on what `iexecform show --json PLANFILE` prints, as it is.
package plan

# What goes, or is replaced, must be allowed by name.
deny contains msg if {
	some r in input.resource_changes
	"delete" in r.change.actions
	not r.address in data.may_go
	msg := sprintf("%s may not be deleted or replaced (%s)", [r.address, concat(", ", r.change.actions)])
}

# A price may not fall by more than half at once.
deny contains msg if {
	some r in input.resource_changes
	some attribute in data.prices
	before := r.change.before[attribute]
	after := r.change.after[attribute]
	after * 2 < before
	msg := sprintf("%s: %s falls from %v to %v", [r.address, attribute, before, after])
}

# What is new must be of a type that is allowed.
deny contains msg if {
	some r in input.resource_changes
	r.mode == "managed"
	r.change.actions == ["create"]
	not r.type in data.types
	msg := sprintf("%s: resources of type %s are not allowed", [r.address, r.type])
}

# A plan that is incomplete is not to be applied.
deny contains "the plan is incomplete" if input.errored

# How much a plan touches, by kind of change.
touched[action] := count([r | some r in input.resource_changes; action in r.change.actions]) if {
	some action in {"create", "update", "delete"}
}
