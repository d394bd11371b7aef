package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config/addr"
	"github.com/iexecform/iexecform/config/schema"
	"github.com/iexecform/iexecform/internal/wording"
	"github.com/iexecform/iexecform/plan"
	"github.com/iexecform/iexecform/state"
)

func (a *app) showCommand() *cobra.Command {
	var asJSON, asMarkdown, asHTML, decrypt bool
	cmd := &cobra.Command{
		Use:   "show [FILE]",
		Short: "Print the state, a saved plan or a state file, without network",
		Long: "Prints the state, a saved plan or a state file, without network. The configuration is read only for the keys of an encrypted\n" +
			"file; elsewhere the key is given in IEXECFORM_ENCRYPTION_IDENTITY or IEXECFORM_ENCRYPTION_PASSPHRASE.",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			forms := 0
			for _, form := range []bool{asJSON, asMarkdown, asHTML, decrypt} {
				if form {
					forms++
				}
			}
			switch {
			case forms > 1:
				return &usageError{cmd, errors.New("--json, --markdown, --html and --decrypt exclude each other")}
			case (asMarkdown || asHTML) && len(args) == 0:
				return &usageError{cmd, errors.New("--markdown and --html are for a saved plan: name its file. Make one with `iexecform plan --out FILE`")}
			case decrypt && len(args) == 0:
				return &usageError{cmd, errors.New("--decrypt is for a file: name it. `iexecform state pull` prints the state")}
			case asMarkdown:
				return a.showReview(args[0], &view.Markdown{Out: a.streams.Out, Tables: lazyTables{a}})
			case asHTML:
				return a.showReview(args[0], &view.HTML{Out: a.streams.Out, Tables: lazyTables{a}})
			case len(args) == 0:
				return a.asJSON(asJSON, a.showState(cmd.Context(), asJSON))
			}
			return a.asJSON(asJSON, a.showFile(args[0], asJSON, decrypt))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&asMarkdown, "markdown", false, "print a saved plan as a comment for a pull request: Markdown of less than 65,000 bytes")
	cmd.Flags().BoolVar(&asHTML, "html", false, "print a saved plan as one self-contained page for its reviewers")
	cmd.Flags().BoolVar(&decrypt, "decrypt", false, "print the file as it is in the clear, for programs that read plan or state files")
	return cmd
}

// showReview prints a saved plan for its reviewers.
func (a *app) showReview(name string, v interface{ Plan(*plan.Plan) error }) error {
	p, err := a.readPlan(name)
	if err != nil {
		return err
	}
	return v.Plan(p)
}

func (a *app) showState(ctx context.Context, asJSON bool) error {
	loaded, err := a.load(ctx)
	if err != nil {
		return err
	}
	return a.printState(loaded.Snapshot, asJSON)
}

// showFile prints a plan or a state, whichever the file is; decrypted as the file that it would be in the clear.
func (a *app) showFile(name string, asJSON, decrypted bool) error {
	b, err := os.ReadFile(a.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no file %s to show", name)
	}
	if err != nil {
		return fmt.Errorf("show: %w", err)
	}
	isState, err := looksLikeState(b)
	if err != nil {
		return fmt.Errorf("%s is neither a plan nor a state: %w. Plans are made by `iexecform plan --out FILE`", name, wording.OfFile(err))
	}
	if isState {
		s, err := a.decodeState(b)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if decrypted {
			return a.printFile(state.Encode(s))
		}
		return a.printState(s, asJSON)
	}
	p, err := a.decodePlan(name, b)
	if err != nil {
		return err
	}
	switch {
	case decrypted:
		document, _, err := plan.Encode(p, nil)
		return a.printFile(document, err)
	case asJSON:
		return a.json().Plan(p)
	}
	return a.human().Plan(p)
}

func (a *app) printFile(text []byte, err error) error {
	if err == nil {
		_, err = a.streams.Out.Write(text)
	}
	return err
}

// looksLikeState tells states from plans, and reads no more of a file than it must: states have a serial at top level, plans
// a format. The error says why the file is not JSON.
func looksLikeState(b []byte) (bool, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(b))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return false, cmp.Or(err, errors.New("it is not a JSON object"))
	}
	for {
		name, err := d.ReadToken()
		if err != nil || name.Kind() == '}' {
			return false, err
		}
		switch name.String() {
		case "serial":
			return true, nil
		case "format":
			return false, nil
		}
		if err := d.SkipValue(); err != nil {
			return false, err
		}
	}
}

func (a *app) printState(s *state.Snapshot, asJSON bool) error {
	objects, err := a.objects(s, sortedInstances(s))
	if err != nil {
		return err
	}
	outputs := view.SortedOutputs(s)
	if asJSON {
		return a.json().State(s, objects, outputs)
	}
	return a.human().State(objects, outputs)
}

// objects decodes objects of a state. One of a type that this program doesn't know, or that a newer one wrote, is shown
// as it stands.
func (a *app) objects(s *state.Snapshot, list []addr.Instance) ([]view.Object, error) {
	var objects []view.Object
	for _, i := range list {
		o := s.Resources[i]
		value, err := plan.DecodeObject(a.providers(), i.Resource.Type, o)
		if err != nil {
			typ, typeErr := ctyjson.ImpliedType(o.Attributes)
			if typeErr != nil {
				return nil, fmt.Errorf("%s in the state: %w", i, err)
			}
			v, err := plan.DecodeValue(o.Attributes, typ)
			if err != nil {
				return nil, fmt.Errorf("%s in the state: %w", i, err)
			}
			value = schema.ObjectOf(v)
		}
		objects = append(objects, view.Object{Addr: i, Value: value, Object: o})
	}
	return objects, nil
}
