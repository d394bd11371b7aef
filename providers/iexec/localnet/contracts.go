package localnet

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// The contracts come from the npm package of PoCo (Apache-2.0), which is fetched, cached and checked, and never part of
// this program. Policy: its tarball is checked against the pinned hash at every use, and whatever its source, setup
// checks a hash over everything that it is about to deploy.
const (
	packageSpec      = "@iexec/poco@6.1.0"
	packageFile      = "iexec-poco-6.1.0.tgz"
	packageIntegrity = "sha512-BPbDtf2fgQuotr6rf74ACVdwlKqkErEZ8qLbTWM+2CIBj2EX3+6KBGWsFoudoOGjgT7vUJ3jeNX8SWvHzSHg6A=="
)

// contracts reads the package's files by their path inside package/.
type contracts func(name string) ([]byte, error)

// artifact is a contract's creation code and interface.
type artifact struct {
	ABI      json.RawMessage // parsed where needed: the library's has types that only Solidity knows
	Bytecode string          // 0x hex, with placeholders of libraries
}

// read returns the artifact at a path such as artifacts/contracts/Diamond.sol/Diamond.json.
func (c contracts) read(name string) (artifact, error) {
	text, err := c(name)
	if err != nil {
		return artifact{}, fmt.Errorf("read contract %s of %s: %w", name, packageSpec, err)
	}
	var a artifact
	if err := json.Unmarshal(text, &a); err != nil {
		return artifact{}, fmt.Errorf("read contract %s of %s: %w", name, packageSpec, err)
	}
	return a, nil
}

// code returns the creation code, its placeholders replaced by the address of the one library.
func (a artifact) code(library common.Address) []byte {
	text := a.Bytecode
	for {
		i := strings.Index(text, "__$")
		if i < 0 {
			return common.FromHex(text)
		}
		text = strings.ReplaceAll(text, text[i:i+40], common.Bytes2Hex(library[:]))
	}
}

// openContracts finds the package: in dir if it is given (the tarball, or the unpacked package), else in the user's
// cache, where npm puts it if it is missing. SIDE EFFECTS: runs npm, writes to the cache.
func openContracts(ctx context.Context, dir string) (contracts, error) {
	if dir != "" {
		return openContractsDir(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the cache for the contracts: %w", err)
	}
	cache = filepath.Join(cache, "iexecform", "contracts")
	tarball := filepath.Join(cache, packageFile)
	if _, err := os.Stat(tarball); errors.Is(err, fs.ErrNotExist) {
		if err := fetchContracts(ctx, cache); err != nil {
			return nil, err
		}
	}
	return openTarball(tarball)
}

// openContractsDir reads the tarball in dir, or the unpacked package, whose files are in dir or in dir/package.
func openContractsDir(dir string) (contracts, error) {
	tarball := filepath.Join(dir, packageFile)
	if _, err := os.Stat(tarball); err == nil {
		return openTarball(tarball)
	}
	for _, root := range []string{filepath.Join(dir, "package"), dir} {
		if _, err := os.Stat(filepath.Join(root, "artifacts", "contracts")); err == nil {
			return func(name string) ([]byte, error) {
				return os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
			}, nil
		}
	}
	return nil, fmt.Errorf("no contracts in %s: it has neither %s nor the unpacked package (artifacts/contracts); get it there with: npm pack %s",
		dir, packageFile, packageSpec)
}

// fetchContracts has npm download the tarball into cache. Processes that do so at once don't disturb each other.
func fetchContracts(ctx context.Context, cache string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return fmt.Errorf("the contracts of the local network (npm package %s) are not in %s and npm is not installed to fetch them: "+
			"install npm, or name a directory that holds %s or the unpacked package", packageSpec, cache, packageFile)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("make the cache for the contracts: %w", err)
	}
	dir, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return fmt.Errorf("make the cache for the contracts: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cmd := exec.CommandContext(ctx, npm, "pack", "--silent", packageSpec) //nolint:gosec // the npm of PATH, and a constant
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetch the contracts of the local network with npm pack %s: %w\n%s"+
			"without a network, name a directory that holds %s or the unpacked package", packageSpec, err, stderr.Bytes(), packageFile)
	}
	if _, err := openTarball(filepath.Join(dir, packageFile)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, packageFile), filepath.Join(cache, packageFile)); err != nil {
		return fmt.Errorf("keep the contracts: %w", err)
	}
	return nil
}

// openTarball checks the tarball's hash and reads the contracts from it.
func openTarball(file string) (contracts, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the contracts: %w", err)
	}
	sum := sha512.Sum512(data)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != packageIntegrity {
		return nil, fmt.Errorf("%s is not %s: its integrity is %s, want %s; remove the file to have it fetched again", file, packageSpec, got, packageIntegrity)
	}
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", file, err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", file, err)
		}
		name := strings.TrimPrefix(header.Name, "package/")
		if !strings.HasSuffix(name, ".json") || !strings.HasPrefix(name, "artifacts/contracts/") && !strings.HasPrefix(name, "deployments/arbitrumSepolia/") {
			continue
		}
		if files[name], err = io.ReadAll(archive); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", file, err)
		}
	}
	return func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return text, nil
	}, nil
}
