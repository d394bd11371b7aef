package nettest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/vm/runtime"

	"github.com/iexecform/iexecform/providers/iexec/localnet"
	"github.com/iexecform/iexecform/providers/iexec/poco"
)

// Multicall3's code comes from the npm package viem (MIT), which npm fetches once into the user's cache.
const (
	viem          = "viem@2.57.20"
	viemFile      = "viem-2.57.20.tgz"
	viemIntegrity = "sha512-LSvREzKT7xFXpmxW2YFJ/OtcZRkSGLp5zywSgadBf0qQCeqh2+FxHHWyrS2zEG7ZfBWQQvk8HI1i4HPzSMD14g=="
	viemContracts = "package/_esm/constants/contracts.js"
)

// Multicall3 makes a network have Multicall3 where the Arbitrum chains have it.
func Multicall3(t testing.TB) func(*localnet.Options) {
	t.Helper()
	source := viemSource(t)
	found := regexp.MustCompile(`multicall3Bytecode = '(0x[0-9a-f]+)'`).FindSubmatch(source)
	if found == nil {
		t.Fatalf("%s of %s doesn't have Multicall3's code", viemContracts, viem)
	}
	code, _, _, err := runtime.Create(common.FromHex(string(found[1])), new(runtime.Config))
	if err != nil {
		t.Fatalf("deploy Multicall3: %v", err)
	}
	return func(o *localnet.Options) { o.Code = map[common.Address][]byte{poco.Multicall3: code} }
}

func viemSource(t testing.TB) []byte {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	cache = filepath.Join(cache, "iexecform", "contracts")
	data, err := os.ReadFile(filepath.Join(cache, viemFile))
	if errors.Is(err, os.ErrNotExist) {
		data = fetchViem(t, cache)
	} else if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(data)
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum[:]); got != viemIntegrity {
		t.Fatalf("%s in %s has integrity %s, want %s: remove it", viemFile, cache, got, viemIntegrity)
	}
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(zip); ; {
		header, err := archive.Next()
		if err != nil {
			t.Fatalf("%s in %s: %v", viemContracts, viemFile, err)
		}
		if header.Name == viemContracts {
			source, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			return source
		}
	}
}

// fetchViem has npm download the tarball into the cache.
func fetchViem(t testing.TB, cache string) []byte {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "npm", "pack", "--silent", viem)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("this test needs the npm package %s: npm pack: %v\n%s", viem, err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, viemFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	partial := filepath.Join(cache, filepath.Base(dir)+viemFile)
	if err := os.WriteFile(partial, data, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(partial, filepath.Join(cache, viemFile)); err != nil {
		t.Fatal(err)
	}
	return data
}
