package apply_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/plan/apply"
)

// conditional is a resource with conditions. Its token is known only after apply.
func conditional(name, ref, lifecycle string) string {
	return "resource \"fake_thing\" \"" + name + "\" {\n  kind = \"box\"\n  ref  = " + ref + "\n  lifecycle {\n" + lifecycle + "\n  }\n}\n"
}

func condition(kind, is, message string) string {
	return kind + " {\n  condition     = " + is + "\n  error_message = \"" + message + "\"\n}\n"
}

// status is what a check came to.
func status(result *apply.Result, id string) config.CheckStatus {
	for _, c := range result.Checks {
		if c.ID() == id {
			return c.Status
		}
	}
	return ""
}

// try applies a plan of which something may fail.
func (w *world) try(m *made) *apply.Result {
	w.t.Helper()
	m.options.Config = m.config
	result, err := m.run(w.t.(*testing.T).Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return result
}

func TestConditionsThatHold(t *testing.T) {
	w := newWorld(t)
	w.write(conditional("a", "null", condition("postcondition", `startswith(self.token, "token")`, "No token.")) +
		conditional("b", "fake_thing.a.id",
			condition("precondition", `fake_thing.a.token != ""`, "No token.")+condition("postcondition", `self.token != fake_thing.a.token`, "The same.")) +
		"output \"a\" {\n  value = 1\n" + condition("precondition", `fake_thing.b.token != ""`, "No token.") + "}\n" +
		"check \"c\" {\n" + condition("assert", `fake_thing.b.token == ""`, "It has ${fake_thing.b.token}.") + "}\n")
	m := w.plan()
	if ids := apply.Undecided(m.Plan); strings.Join(ids, " ") != "output.a fake_thing.a fake_thing.b" {
		t.Errorf("undecided: %v", ids)
	}
	result := w.try(m)
	if len(result.Errors) > 0 {
		t.Errorf("errors %v", result.Errors)
	}
	for id, want := range map[string]config.CheckStatus{
		"fake_thing.a": config.CheckPass, "fake_thing.b": config.CheckPass, "output.a": config.CheckPass, "check.c": config.CheckFail,
	} {
		if got := status(result, id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	if d := result.Diagnostics; len(d) != 1 || d.HasErrors() || d[0].Detail != "It has token-2." {
		t.Errorf("diagnostics %v, want a warning", d)
	}
	w.settled()
}

// An object whose postcondition fails is kept, and what waits for it is skipped.
func TestPostconditionFails(t *testing.T) {
	w := newWorld(t)
	w.write(conditional("a", "null", condition("postcondition", `self.token == "mine"`, "It is ${self.token}.")) + conditional("b", "fake_thing.a.id", ""))
	result := w.try(w.plan())
	failed := (*apply.ConditionError)(nil)
	if result.Failed != 1 || result.Skipped != 1 || !errors.As(result.Errors[0].Err, &failed) || failed.Diagnostic.Detail != "It is token-1." {
		t.Fatalf("%+v", result)
	}
	w.exist("box/a 1")
	if w.attributes("fake_thing.a")["token"] != "token-1" {
		t.Errorf("the state has %v", w.attributes("fake_thing.a"))
	}
	if m := w.tryPlan(plan.Options{}); !m.diags.HasErrors() || m.Complete {
		t.Errorf("the next plan is complete:\n%s", m)
	}
}

// No action of an object whose precondition fails is begun, not even an early one.
func TestPreconditionFails(t *testing.T) {
	w := newWorld(t)
	isMine := condition("precondition", `fake_thing.a.token == "mine"`, "It is ${fake_thing.a.token}.")
	w.write(conditional("a", "null", "") + strings.Replace(conditional("b", "fake_thing.a.id", isMine), "  ref", "  prepare = true\n  ref", 1))
	result := w.try(w.plan())
	failed := (*apply.ConditionError)(nil)
	if result.Done != 1 || result.Failed != 1 || result.Skipped != 1 || !errors.As(result.Errors[0].Err, &failed) {
		t.Fatalf("%+v", result)
	}
	w.exist("box/a 1")
	w.history("create box/a")
}

// An output whose precondition fails keeps its old value.
func TestOutputPreconditionFails(t *testing.T) {
	w := newWorld(t)
	w.write(things("a") + "output \"a\" {\n  value = 1\n}\n")
	w.apply()
	w.cloud.Remove("box/a")
	w.write(things("a") + "output \"a\" {\n  value = 2\n" + condition("precondition", `fake_thing.a.token == "mine"`, "It is ${fake_thing.a.token}.") + "}\n")
	result := w.try(w.plan())
	if !result.Diagnostics.HasErrors() || result.Diagnostics[0].Detail != "It is token-2." {
		t.Errorf("diagnostics %v", result.Diagnostics)
	}
	if got := string(w.load().Snapshot.Outputs["a"].Value); got != "1" {
		t.Errorf("output %s", got)
	}
}

// Without the configuration nothing is begun that conditions may forbid.
func TestConditionsNeedConfiguration(t *testing.T) {
	w := newWorld(t)
	w.write(conditional("a", "null", condition("postcondition", `self.token != ""`, "No token.")))
	if _, err := w.plan().run(t.Context()); err == nil || !strings.Contains(err.Error(), "conditions that only apply can tell, on fake_thing.a") {
		t.Errorf("error %v", err)
	}
	w.exist()
}

// The data source of a check is read when what it depends on is there.
func TestCheckReadsAfterwards(t *testing.T) {
	w := newWorld(t)
	w.write(things("a") + "check \"c\" {\n  data \"fake_thing\" \"a\" {\n    id = fake_thing.a.id\n  }\n" + condition("assert", "data.fake_thing.a.size == 1", "Other.") + "}\n")
	result := w.try(w.plan())
	if got := status(result, "check.c"); got != config.CheckPass || len(result.Diagnostics) > 0 {
		t.Errorf("%s, %v", got, result.Diagnostics)
	}
	w.settled()
}
