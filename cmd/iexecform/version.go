package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type versionInfo struct {
	Version  string `json:"iexecform_version"`
	Platform string `json:"platform"`
	Go       string `json:"go_version"`
	Revision string `json:"revision,omitempty"` // of the source, where it is known
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			info := versionInfo{Version: version, Platform: runtime.GOOS + "_" + runtime.GOARCH, Go: runtime.Version(), Revision: revision()}
			if asJSON {
				return a.json().Document(info)
			}
			if err := a.human().Print("iexecform %s", info.Version); err != nil {
				return err
			}
			return a.human().Print("on %s", info.Platform)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
