package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/config/addr"
)

// selectionFlags limit a plan to some resources, or leave some out. The files have one address a line; empty lines, and what
// follows #, count for nothing.
type selectionFlags struct {
	targets, targetFiles, exclude, excludeFiles []string
}

func (o *selectionFlags) add(cmd *cobra.Command, a *app) {
	flags := cmd.Flags()
	flags.StringArrayVar(&o.targets, "target", nil, "plan only the resource `ADDRESS` and what it depends on (repeatable)")
	flags.StringArrayVar(&o.targetFiles, "target-file", nil, "plan only what `FILE` lists, an address a line (repeatable)")
	flags.StringArrayVar(&o.exclude, "exclude", nil, "leave out the resource `ADDRESS` and what depends on it (repeatable)")
	flags.StringArrayVar(&o.excludeFiles, "exclude-file", nil, "leave out what `FILE` lists, an address a line (repeatable)")
	for _, name := range []string{"target", "exclude"} {
		_ = cmd.RegisterFlagCompletionFunc(name, a.completeTargets) // fails for a flag that doesn't exist
	}
}

// contradicts reports whether targets and exclusions are given.
func (o *selectionFlags) contradicts() bool {
	return len(o.targets)+len(o.targetFiles) > 0 && len(o.exclude)+len(o.excludeFiles) > 0
}

// selection reads the flags and their files.
func (a *app) selection(o selectionFlags) (targets, exclude []addr.Instance, err error) {
	if targets, err = a.addresses("--target", o.targets, o.targetFiles); err != nil {
		return nil, nil, err
	}
	exclude, err = a.addresses("--exclude", o.exclude, o.excludeFiles)
	return targets, exclude, err
}

func (a *app) addresses(flag string, texts, files []string) ([]addr.Instance, error) {
	list, err := parseAddresses(flag, texts)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		b, err := a.readInput(name)
		if err != nil {
			return nil, fmt.Errorf("%s-file: %w", flag, err)
		}
		number := 0
		for line := range strings.Lines(string(b)) {
			number++
			line, _, _ = strings.Cut(line, "#")
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			more, err := parseAddresses(fmt.Sprintf("%s-file=%s line %d", flag, name, number), []string{line})
			if err != nil {
				return nil, err
			}
			list = append(list, more...)
		}
	}
	return list, nil
}
