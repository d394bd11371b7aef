package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/iexecform/iexecform/cmd/iexecform/internal/modules"
	"github.com/iexecform/iexecform/cmd/iexecform/internal/view"
	"github.com/iexecform/iexecform/config"
	"github.com/iexecform/iexecform/providers/iexec/poco"
	"github.com/iexecform/iexecform/state/local"
)

func (a *app) initCommand() *cobra.Command {
	var chain string
	var o moduleFlags
	var b backendFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a first configuration where there is none, fetch modules, and make the backend ready",
		Long: "Where there is no .hcl file it writes main.hcl with one app and one order. It makes sure that .gitignore keeps the\n" +
			"journal, the lock and the backups of the state out of git. It never changes an .hcl file, so it may be run at any time.\n" +
			"Modules that are not local it fetches into " + modules.Dir + ", as " + modules.LockFile + " says, or writes that file.\n" +
			"With --images it locks the digests of images there, too, so that a tag that somebody moves is no change of a plan.\n" +
			"A backend block it makes ready, and writes down in " + dataDir + " that it did; what the block lacks comes from\n" +
			"--backend-config or from the environment. Other commands need init only after such modules or that block changed.",
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !asJSON {
				return a.init(cmd.Context(), a.human(), chain, o, b)
			}
			lines := view.NewLines(a.streams.Out, version, time.Now)
			return tell(lines, a.init(cmd.Context(), lines, chain, o, b))
		},
	}
	cmd.Flags().StringVar(&chain, "chain", "arbitrum-sepolia-testnet", "the `CHAIN` of the new configuration: "+strings.Join(chainNames(), ", "))
	cmd.Flags().Bool("input", true, "nothing is ever asked: --input=false is accepted for scripts that were made for Terraform")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, a line for each thing that is done")
	o.add(cmd.Flags())
	b.add(cmd.Flags())
	return cmd
}

// remarks is where init tells what it does. Codes are stable, for machines.
type remarks interface {
	Remark(code, format string, args ...any) error
}

func chainNames() (names []string) {
	for _, c := range poco.Chains() {
		names = append(names, c.Name)
	}
	return names
}

func (a *app) init(ctx context.Context, v remarks, chainName string, o moduleFlags, b backendFlags) error {
	chain, ok := poco.ChainByName(chainName)
	if !ok {
		return fmt.Errorf("there is no built-in chain %q.%s There are %s; another one is set up in the provider block, by chain_id, rpc_url, hub and market_url",
			chainName, config.DidYouMean(chainName, chainNames()), strings.Join(chainNames(), ", "))
	}
	c, fetched, err := a.install(ctx, v, o)
	if err != nil {
		return err
	}
	moved := false
	if !b.skip && !c.Empty() {
		if moved, err = a.initBackend(ctx, v, b); err != nil {
			return err
		}
	}
	ignored, err := ignoreFiles(filepath.Join(a.dir, ".gitignore"), []string{local.JournalFile, local.LockFile, local.SnapshotFile + ".*" + backupSuffix, erroredFile, dataDir + "/"})
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if ignored {
		if err := v.Remark("ignored", "Added to .gitignore what belongs to this checkout only: the state's journal, lock and backups, and "+dataDir+"/."); err != nil {
			return err
		}
	}
	if !c.Empty() {
		if ignored || fetched || moved {
			return nil
		}
		return v.Remark("nothing_to_do", "Nothing to do: the configuration is valid, modules and backend have not changed, and .gitignore is in order.")
	}
	if err := writeNew(filepath.Join(a.dir, "main.hcl"), scaffold(chain)); err != nil {
		return fmt.Errorf("init: %w", err)
	}
	return v.Remark("configuration_written", `Wrote main.hcl: an app and an order that sells it, on %s.

Put your own app's name, image and price in it, then:
  iexecform plan     shows what would be done, and does nothing
  iexecform apply    does it, after you said yes`, chain.Name)
}

func writeNew(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // made to be committed
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// ignoreFiles adds to a .gitignore file the names that it lacks, and reports whether there were any.
func ignoreFiles(path string, names []string) (bool, error) {
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	has := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		has[strings.TrimPrefix(strings.TrimSpace(line), "/")] = true
	}
	var missing bytes.Buffer
	for _, name := range names {
		if !has[name] {
			missing.WriteString(name + "\n")
		}
	}
	if missing.Len() == 0 {
		return false, nil
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	return true, os.WriteFile(path, append(text, missing.Bytes()...), 0o644) //nolint:gosec // .gitignore of the directory that the user names
}

// scaffold is a first configuration.
func scaffold(chain poco.Chain) string {
	image, wallet := "docker.io/iexechub/nilearn:1.0", `
  # The account that owns the app and signs its orders. Planning needs its address only. The key comes from a geth
  # keystore file, as here, or from the environment variable IEXECFORM_PRIVATE_KEY instead of this block.
  wallet {
    keystore = "~/.ethereum/keystore"
  }`
	if chain.Registry != "" {
		image = chain.Registry + "/iexecform/hello-world:1.0"
		wallet = `
  # Without a wallet block the local network's first well-known account is used.`
	}
	return fmt.Sprintf(`# One app, and one order that sells it. See what would be done with "iexecform plan", do it with "iexecform apply".

iexecform {
  project = "my-app" # part of every order's salt: keep it, so that your orders are found again
}

provider "iexec" {
  chain = %q
%s
}

# The image: its digest is looked up in the registry, and becomes the app's checksum.
data "oci_image" "app" {
  reference = %q
}

# The app. On chain its fields can never be changed: another image or name makes another app.
resource "iexec_app" "app" {
  name      = "My app"
  multiaddr = data.oci_image.app.reference
  checksum  = data.oci_image.app.checksum
}

# The order: who buys pays appprice for each run, up to volume runs. Signing and publishing cost nothing.
resource "iexec_apporder" "public" {
  app      = iexec_app.app.address
  appprice = "0.1 RLC"
  volume   = 1000
}

output "app_address" {
  value = iexec_app.app.address
}

output "order_hash" {
  value = iexec_apporder.public.order_hash
}
`, chain.Name, wallet[1:], image)
}
