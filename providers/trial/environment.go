package trial

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/sha3"
)

// Where the app finds its input and leaves its output.
const (
	inDir  = "/iexec_in"
	outDir = "/iexec_out"
)

func keccak256(parts ...[]byte) (sum [32]byte) {
	h := sha3.NewLegacyKeccak256()
	for _, p := range parts {
		_, _ = h.Write(p) // never fails
	}
	h.Sum(sum[:0])
	return sum
}

// datasetAddress is what a dataset of this content is called in place of the address that it would have on chain.
func datasetAddress(sum [sha256.Size]byte) string {
	hash := keccak256([]byte("iexecform trial dataset"), sum[:])
	return "0x" + hex.EncodeToString(hash[12:])
}

// inputFileName is the worker's name for a downloaded file.
func inputFileName(url string) string {
	sum := sha256.Sum256([]byte(url))
	return "0x" + hex.EncodeToString(sum[:])
}

// environment is the complete environment of the compute stage, with what the secret management service adds, and with
// DATASET_FILENAME as older apps know it. Deal and task are the same for all trials.
func (j *job) environment() []string {
	deal := keccak256([]byte("iexecform trial"))
	task := keccak256(deal[:], make([]byte, 32)) // keccak256(abi.encode(deal, index)) of index 0
	env := map[string]string{
		"IEXEC_DEAL_ID":            "0x" + hex.EncodeToString(deal[:]),
		"IEXEC_TASK_INDEX":         "0",
		"IEXEC_TASK_ID":            "0x" + hex.EncodeToString(task[:]),
		"IEXEC_IN":                 inDir,
		"IEXEC_OUT":                outDir,
		"IEXEC_BOT_SIZE":           "1",
		"IEXEC_BOT_FIRST_INDEX":    "0",
		"IEXEC_BOT_TASK_INDEX":     "0",
		"IEXEC_DATASET_ADDRESS":    "",
		"IEXEC_DATASET_FILENAME":   "",
		"IEXEC_INPUT_FILES_NUMBER": strconv.Itoa(len(j.inputs)),
	}
	switch len(j.datasets) {
	case 0:
	case 1:
		env["IEXEC_DATASET_ADDRESS"] = j.datasets[0].name
		env["IEXEC_DATASET_FILENAME"] = j.datasets[0].name
		env["DATASET_FILENAME"] = filepath.Base(j.datasets[0].path)
	default:
		env["IEXEC_BULK_SLICE_SIZE"] = strconv.Itoa(len(j.datasets))
		for i, d := range j.datasets {
			env[fmt.Sprintf("IEXEC_DATASET_%d_FILENAME", i+1)] = d.name
		}
	}
	if len(j.inputs) > 0 {
		env["IEXEC_INPUT_FILES_FOLDER"] = inDir
	}
	for i, in := range j.inputs {
		env[fmt.Sprintf("IEXEC_INPUT_FILE_NAME_%d", i+1)] = in.name
	}
	maps.Copy(env, j.Secrets)
	if secret, ok := j.Secrets["IEXEC_APP_DEVELOPER_SECRET"]; ok {
		env["IEXEC_APP_DEVELOPER_SECRET_1"] = secret
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// writeInput writes the content of /iexec_in as a tar archive. A dataset is named by its address, as the worker names it;
// the task's dataset has its own file name too, as DATASET_FILENAME promises.
func (j *job) writeInput(w io.Writer) error {
	archive := tar.NewWriter(w)
	written := map[string]bool{}
	for _, in := range slices.Concat(j.datasets, j.inputs) {
		if written[in.name] {
			continue // the same content or the same URL twice
		}
		written[in.name] = true
		if err := writeInputFile(archive, in); err != nil {
			return err
		}
	}
	if len(j.datasets) == 1 {
		if base := filepath.Base(j.datasets[0].path); !written[base] {
			header := &tar.Header{Typeflag: tar.TypeLink, Name: base, Linkname: j.datasets[0].name, Mode: 0o644}
			if err := archive.WriteHeader(header); err != nil {
				return fmt.Errorf("write the archive of %s: %w", inDir, err)
			}
		}
	}
	return archive.Close()
}

func writeInputFile(archive *tar.Writer, in input) error {
	f, err := os.Open(in.path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: in.name, Size: info.Size(), Mode: 0o644}); err != nil {
		return err
	}
	if _, err := io.Copy(archive, f); err != nil {
		return fmt.Errorf("read %s: %w", in.path, err)
	}
	return nil
}

// redact replaces the values of secrets, the longer ones first: one may be a part of another.
func (j *job) redact(text string) string {
	names := slices.SortedFunc(maps.Keys(j.Secrets), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(j.Secrets[b]), len(j.Secrets[a])), cmp.Compare(a, b))
	})
	for _, name := range names {
		if value := j.Secrets[name]; value != "" {
			text = strings.ReplaceAll(text, value, "("+name+")")
		}
	}
	return text
}
