package trial_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"github.com/iexecform/iexecform/providers/docker/enginetest"
	"github.com/iexecform/iexecform/providers/trial"
)

// tester is an engine, and the directory in which trials make theirs.
type tester struct {
	engine *enginetest.Engine
	tmp    string
}

// script makes an image whose entrypoint is a shell script.
func (e tester) script(t *testing.T, script string) string {
	t.Helper()
	return e.engine.Import(t, enginetest.Image{
		Files: map[string]string{"app": "#!/bin/sh\n" + script}, Changes: []string{`ENTRYPOINT ["/app"]`},
	})
}

// try runs a trial and checks that nothing is left of it.
func (e tester) try(t *testing.T, spec trial.Spec) trial.Report {
	t.Helper()
	report, err := trial.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	e.nothingLeft(t, spec.Image)
	return report
}

func (e tester) nothingLeft(t *testing.T, image string) {
	t.Helper()
	label := trial.Label + "=" + image
	if n, m := e.engine.Containers(t, label), e.engine.Volumes(t, label); n != 0 || m != 0 {
		t.Errorf("%d containers and %d volumes are left", n, m)
	}
}

func TestOnEngine(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	e := tester{enginetest.Start(t), tmp}
	t.Setenv("DOCKER_HOST", e.engine.Host)
	t.Run("group", func(t *testing.T) {
		for name, test := range map[string]func(tester, *testing.T){
			"passes": tester.passes, "guide": tester.guide, "environment": tester.environment, "arguments": tester.arguments,
			"text differs": tester.textDiffers, "binary differs": tester.binaryDiffers, "other differs": tester.otherDiffers,
			"failures": tester.failures, "images": tester.images, "many": tester.many, "interrupted": tester.interrupted,
			"secrets": tester.secrets, "streams": tester.streams, "network": tester.network, "pulled": tester.pulled,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(e, t)
			})
		}
	})
	left, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range left {
		if strings.HasPrefix(d.Name(), "iexecform-trial-") {
			t.Errorf("%s is left", d.Name())
		}
	}
}

const writesResult = `
echo 42 > /iexec_out/result.txt
echo '{"deterministic-output-path": "/iexec_out/result.txt"}' > /iexec_out/computed.json
`

func (e tester) passes(t *testing.T) {
	image := e.script(t, writesResult+"date +%N%s > /dev/null; echo hello")
	report := e.try(t, trial.Spec{Image: image})
	if !report.Passed || len(report.Runs) != 2 || len(report.Findings)+len(report.Differences) != 0 {
		t.Fatal(report.Text())
	}
	sum := sha256.Sum256([]byte("42\n"))
	want := []trial.Digest{{Rule: trial.FileRule, Path: "/iexec_out/result.txt", Value: "0x" + hex.EncodeToString(sum[:])}}
	if diff := cmp.Diff(want, report.Digests); diff != "" {
		t.Error(diff)
	}
	if run := report.Runs[1]; run.Files != 3 || run.Stdout != "hello\n" {
		t.Errorf("with stdout.txt there are three files: %+v", run)
	}
	if !strings.HasSuffix(report.Text(), "The app passed: all 2 runs agree.\n") {
		t.Error(report.Text())
	}
	again := e.try(t, trial.Spec{Image: image})
	for _, r := range []*trial.Report{&report, &again} {
		for i := range r.Runs {
			r.Runs[i].Seconds = 0
		}
	}
	if diff := cmp.Diff(report, again); diff != "" {
		t.Error("the same trial gives another report:", diff)
	}
	b, err := json.Marshal(report)
	if err != nil || strings.Contains(strings.Replace(string(b), `"command":null`, "", 1), "null") {
		t.Fatalf("a list is null: %v %s", err, b)
	}
	var read trial.Report
	if err := json.Unmarshal(b, &read); err != nil || !cmp.Equal(report, read) {
		t.Errorf("the report isn't what its JSON says: %v %s", err, cmp.Diff(report, read))
	}
}

// The guide's app reads DATASET_FILENAME and an argument and writes determinism.iexec.
func (e tester) guide(t *testing.T) {
	image := e.script(t, `cat "/iexec_in/$DATASET_FILENAME" > /iexec_out/determinism.iexec; echo "$1" >> /iexec_out/determinism.iexec`)
	dataset := filepath.Join(t.TempDir(), "nsfw_model.zip")
	if err := os.WriteFile(dataset, []byte("model\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	report := e.try(t, trial.Spec{Image: image, Args: "http://example.org/a.jpg", Datasets: []string{dataset}})
	if !report.Passed {
		t.Fatal(report.Text())
	}
	sum := sha256.Sum256([]byte("model\nhttp://example.org/a.jpg\n"))
	want := []trial.Digest{{Rule: trial.DeterminismRule, Path: "/iexec_out/determinism.iexec", Value: "0x" + hex.EncodeToString(sum[:])}}
	if diff := cmp.Diff(want, report.Digests); diff != "" {
		t.Error(diff)
	}
	findings := report.Runs[0].Findings
	if len(findings) != 1 || findings[0].Severity != trial.Warning || findings[0].Cause != "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND" {
		t.Errorf("want a warning that today's workers want computed.json: %+v", findings)
	}
}

func (e tester) environment(t *testing.T) {
	// stat and cat as another user: what is there must be readable by any.
	image := e.engine.Import(t, enginetest.Image{
		Files:   map[string]string{"app": "#!/bin/sh\nenv | grep -v -e ^HOSTNAME= -e ^PWD= -e ^SHLVL= -e ^HOME= -e ^PATH= -e ^TERM= -e ^container= | sort\ncd /iexec_in; for f in *; do echo \"$f $(cat $f)\"; done\nstat -c %a /iexec_in /iexec_out\n"},
		Changes: []string{`ENTRYPOINT ["/app"]`, "USER 1234"},
	})
	dir := t.TempDir()
	for name, content := range map[string]string{"data.csv": "1,2", "second.csv": "3,4", "in.txt": "input"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inputName := func(url string) string {
		sum := sha256.Sum256([]byte(url))
		return "0x" + hex.EncodeToString(sum[:])
	}
	printed := func(spec trial.Spec) (string, []string) {
		t.Helper()
		spec.Image, spec.Runs = image, 1
		report := e.try(t, spec)
		if report.Passed {
			t.Fatal("the app writes no computed.json")
		}
		lines := strings.Split(strings.TrimSpace(report.Runs[0].Stdout), "\n")
		at := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "IEXEC_TASK_INDEX=") }) + 1
		return strings.Join(lines[:at], "\n"), lines[at:]
	}
	const always = `IEXEC_BOT_FIRST_INDEX=0
IEXEC_BOT_SIZE=1
IEXEC_BOT_TASK_INDEX=0
`
	env, files := printed(trial.Spec{})
	if !strings.HasPrefix(env, always+"IEXEC_DATASET_ADDRESS=\nIEXEC_DATASET_FILENAME=\nIEXEC_DEAL_ID=0x") ||
		!strings.Contains(env, "\nIEXEC_IN=/iexec_in\nIEXEC_INPUT_FILES_NUMBER=0\nIEXEC_OUT=/iexec_out\nIEXEC_TASK_ID=0x") || strings.Contains(env, "FILES_FOLDER") {
		t.Error(env)
	}
	if want := []string{"* ", "755", "755"}; !slices.Equal(files, want) {
		t.Errorf("got %q, want %q", files, want)
	}
	env, files = printed(trial.Spec{
		Datasets:   []string{filepath.Join(dir, "data.csv")},
		InputFiles: []trial.InputFile{{Path: filepath.Join(dir, "in.txt"), URL: "https://example.org/in.txt"}, {Path: filepath.Join(dir, "second.csv")}},
	})
	for _, want := range []string{
		"DATASET_FILENAME=data.csv\n", "IEXEC_INPUT_FILES_NUMBER=2\n", "IEXEC_INPUT_FILES_FOLDER=/iexec_in\n",
		"IEXEC_INPUT_FILE_NAME_1=" + inputName("https://example.org/in.txt") + "\n", "IEXEC_INPUT_FILE_NAME_2=" + inputName("second.csv") + "\n",
	} {
		if !strings.Contains(env, want) {
			t.Errorf("the environment lacks %q:\n%s", want, env)
		}
	}
	_, address, _ := strings.Cut(env, "IEXEC_DATASET_ADDRESS=")
	address, _, _ = strings.Cut(address, "\n")
	if len(address) != 42 || !strings.Contains(env, "IEXEC_DATASET_FILENAME="+address+"\n") {
		t.Errorf("the dataset has the address %q and another name:\n%s", address, env)
	}
	for _, want := range []string{address + " 1,2", "data.csv 1,2", inputName("https://example.org/in.txt") + " input", inputName("second.csv") + " 3,4"} {
		if !slices.Contains(files, want) {
			t.Errorf("/iexec_in lacks %q: %q", want, files)
		}
	}
	env, _ = printed(trial.Spec{Datasets: []string{filepath.Join(dir, "data.csv"), filepath.Join(dir, "second.csv")}})
	for _, want := range []string{"IEXEC_BULK_SLICE_SIZE=2\n", "IEXEC_DATASET_1_FILENAME=0x", "IEXEC_DATASET_2_FILENAME=0x", "IEXEC_DATASET_ADDRESS=\n"} {
		if !strings.Contains(env, want) {
			t.Errorf("the environment of a bulk lacks %q:\n%s", want, env)
		}
	}
}

func (e tester) arguments(t *testing.T) {
	image := e.engine.Import(t, enginetest.Image{
		Files:   map[string]string{"app": "#!/bin/sh\nfor a; do echo \"<$a>\"; done\n" + writesResult},
		Changes: []string{`ENTRYPOINT ["/app", "fixed"]`, `CMD ["of the image"]`},
	})
	for args, want := range map[string]string{
		"":                              "<fixed>\n<of the image>\n",
		"  ":                            "<fixed>\n<of the image>\n",
		`one 'two 2' "three '3'" $HOME`: "<fixed>\n<one>\n<two 2>\n<three '3'>\n<$HOME>\n",
	} {
		report := e.try(t, trial.Spec{Image: image, Args: args, Runs: 1})
		if got := report.Runs[0].Stdout; got != want {
			t.Errorf("%q: got %q, want %q", args, got, want)
		}
	}
}

func (e tester) textDiffers(t *testing.T) {
	image := e.script(t, `
mkdir /iexec_out/r
echo same > /iexec_out/r/a.txt
{ echo first; cat /proc/sys/kernel/random/uuid; echo last; } > /iexec_out/r/b.txt
echo '{"deterministic-output-path": "/iexec_out/r"}' > /iexec_out/computed.json`)
	report := e.try(t, trial.Spec{Image: image, Runs: 3})
	if report.Passed || len(report.Runs) != 2 || len(report.Digests) != 0 {
		t.Fatalf("the first two runs differ already:\n%s", report.Text())
	}
	if len(report.Findings) != 1 || report.Findings[0].Check != trial.CheckDeterminism || len(report.Differences) != 1 {
		t.Fatal(report.Text())
	}
	d := report.Differences[0]
	if d.Path != "/iexec_out/r/b.txt" || !d.Counts || d.Offset < 6 || d.Sizes != [2]int64{48, 48} || d.Bytes != [2]string{} {
		t.Errorf("%+v", d)
	}
	if !strings.Contains(d.Diff, "--- run 1\n+++ run 2\n@@ -1,3 +1,3 @@\n first\n-") || !strings.HasSuffix(d.Diff, "\n last\n") {
		t.Error(d.Diff)
	}
	if text := report.Text(); !strings.Contains(text, "/iexec_out/r/b.txt differs from byte") || !strings.HasSuffix(text, "The app failed 1 check.\n") {
		t.Error(text)
	}
}

func (e tester) binaryDiffers(t *testing.T) {
	image := e.script(t, `
{ head -c 2000000 /dev/zero; head -c 30 /dev/urandom; } > /iexec_out/r.bin
echo '{"deterministic-output-path": "/iexec_out/r.bin"}' > /iexec_out/computed.json`)
	report := e.try(t, trial.Spec{Image: image})
	if report.Passed || len(report.Differences) != 1 {
		t.Fatal(report.Text())
	}
	d := report.Differences[0]
	if d.Offset < 2000000 || d.Offset > 2000003 || len(d.Bytes[0]) != 32 || len(d.Bytes[1]) != 32 || d.Bytes[0][:2] == d.Bytes[1][:2] || d.Diff != "" {
		t.Errorf("%+v", d)
	}
}

// What the digest doesn't depend on may differ, and is told.
func (e tester) otherDiffers(t *testing.T) {
	image := e.script(t, writesResult+"cat /proc/sys/kernel/random/uuid > /iexec_out/log.txt")
	report := e.try(t, trial.Spec{Image: image})
	want := []trial.Difference{{Path: "/iexec_out/log.txt", Runs: [2]int{1, 2}, Sizes: [2]int64{37, 37}, Offset: -1}}
	if diff := cmp.Diff(want, report.Differences); !report.Passed || diff != "" {
		t.Errorf("%s\n%s", report.Text(), diff)
	}
}

// failures are of apps that a worker would refuse: each with what the report says.
func (e tester) failures(t *testing.T) {
	const computed = `echo '{"deterministic-output-path": "/iexec_out/result.txt"}' > /iexec_out/computed.json; echo 42 > /iexec_out/result.txt; `
	for name, test := range map[string]struct {
		script string
		spec   trial.Spec
		check  trial.Check
		cause  string
		text   string
	}{
		"exit code":      {computed + "echo no such model >&2; exit 3", trial.Spec{}, trial.CheckExitCode, "APP_COMPUTE_FAILED", "exit code 3"},
		"no computed":    {"echo 42 > /iexec_out/result.txt", trial.Spec{}, trial.CheckComputed, "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND", "no computed.json"},
		"not JSON":       {"echo { > /iexec_out/computed.json", trial.Spec{}, trial.CheckComputed, "POST_COMPUTE_COMPUTED_FILE_NOT_FOUND", "not valid"},
		"not there":      {`echo '{"deterministic-output-path": "/iexec_out/none"}' > /iexec_out/computed.json`, trial.Spec{}, trial.CheckComputed, "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED", "there is no none"},
		"elsewhere":      {`echo '{"deterministic-output-path": "/etc/passwd"}' > /iexec_out/computed.json`, trial.Spec{}, trial.CheckComputed, "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED", "not in /iexec_out"},
		"up":             {`echo '{"deterministic-output-path": "/iexec_out/../etc/passwd"}' > /iexec_out/computed.json`, trial.Spec{}, trial.CheckComputed, "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED", "not in /iexec_out"},
		"bad callback":   {`echo '{"callback-data": "0x123"}' > /iexec_out/computed.json`, trial.Spec{}, trial.CheckComputed, "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED", "callback-data"},
		"nothing said":   {`echo '{}' > /iexec_out/computed.json`, trial.Spec{}, trial.CheckComputed, "POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED", "neither"},
		"long name":      {computed + "touch /iexec_out/result-0x0000000000000000000.txt", trial.Spec{}, trial.CheckNames, "POST_COMPUTE_TOO_LONG_RESULT_FILE_NAME", `"result-0x0000000000000000000.txt"`},
		"too large":      {computed + "head -c 2000000 /dev/zero > /iexec_out/big", trial.Spec{OutputLimit: 1 << 20}, trial.CheckSize, "", "larger than 1 MiB"},
		"prints a lot":   {computed + "head -c 2000000 /dev/zero", trial.Spec{OutputLimit: 1 << 20}, trial.CheckSize, "", "larger than 1 MiB"},
		"too many files": {computed + "mkdir /iexec_out/d; cd /iexec_out/d; seq 100000 | xargs touch", trial.Spec{}, trial.CheckSize, "", "more than 65535 files"},
		"link out":       {computed + "ln -s /etc/shadow /iexec_out/passwords; ln -s ../../etc /iexec_out/etc", trial.Spec{}, trial.CheckLinks, "", `2 symbolic links leading out of /iexec_out: "etc" to "../../etc", "passwords" to "/etc/shadow"`},
		"result link":    {`ln -s /etc/passwd /iexec_out/r; echo '{"deterministic-output-path": "/iexec_out/r"}' > /iexec_out/computed.json`, trial.Spec{}, trial.CheckLinks, "", "leading out"},
		"pipe":           {computed + "mkfifo /iexec_out/pipe", trial.Spec{}, trial.CheckLinks, "", `besides files, directories and links: "pipe"`},
		"expected":       {computed, trial.Spec{Expect: []string{"result.txt", "report.pdf"}}, trial.CheckExpect, "", "1 expected file: report.pdf"},
		"endless":        {computed + "while :; do sleep 1; done", trial.Spec{Timeout: time.Second}, trial.CheckTime, "APP_COMPUTE_FAILED", "within 1s"},
		"memory":         {computed + "tail /dev/zero", trial.Spec{Memory: 16 << 20}, trial.CheckMemory, "APP_COMPUTE_FAILED", "more than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.spec.Image = e.script(t, test.script)
			report := e.try(t, test.spec)
			failures := report.Failures()
			if report.Passed || len(report.Runs) != 1 || len(failures) == 0 {
				t.Fatal(report.Text())
			}
			if strings.HasPrefix(report.Engine, "Podman") && name == "memory" {
				test.check, test.text = trial.CheckExitCode, "the 16 MiB of memory" // it doesn't tell why a container was killed
			}
			if f := failures[0]; f.Check != test.check || f.Cause != test.cause || !strings.Contains(f.Text, test.text) {
				t.Errorf("want %s %q %q, got %s", test.check, test.cause, test.text, report.Text())
			}
		})
	}
	t.Run("warning", func(t *testing.T) {
		t.Parallel()
		report := e.try(t, trial.Spec{Image: e.script(t, computed+"mkdir /cache; echo x > /cache/a; echo y > /cache.log; ln -s result.txt /iexec_out/link"), Runs: 1})
		f := report.Runs[0].Findings
		if !report.Passed || len(f) != 1 || f[0].Severity != trial.Warning || f[0].Check != trial.CheckOutside || !slices.Equal(report.Runs[0].Outside, []string{"/cache.log", "/cache/a"}) {
			t.Error(report.Text())
		}
		if !strings.Contains(report.Text(), "One run doesn't show") {
			t.Error(report.Text())
		}
	})
}

// images are those that can't be run at all.
func (e tester) images(t *testing.T) {
	files := map[string]string{"app": "#!/bin/sh\n" + writesResult}
	_, err := trial.Run(t.Context(), trial.Spec{Image: "127.0.0.1:1/no/such:1.0"})
	if !errors.Is(err, trial.ErrNoImage) || !strings.Contains(err.Error(), "127.0.0.1:1/no/such:1.0") {
		t.Errorf("no such image: %v", err)
	}
	if _, err := trial.Run(t.Context(), trial.Spec{Image: "Not An Image"}); err == nil || !strings.Contains(err.Error(), "not an image reference") {
		t.Errorf("no reference: %v", err)
	}
	if _, err := trial.Run(t.Context(), trial.Spec{Image: "user/app:1.0", Digest: "sha256:12"}); err == nil || !strings.Contains(err.Error(), "not an image digest") {
		t.Errorf("no digest: %v", err)
	}
	for name, test := range map[string]struct {
		image enginetest.Image
		check trial.Check
		text  string
	}{
		"no entrypoint": {enginetest.Image{Files: files}, trial.CheckCommand, "nothing to run"},
		"no program":    {enginetest.Image{Changes: []string{`ENTRYPOINT ["/missing"]`}}, trial.CheckStart, "/missing"},
	} {
		report := e.try(t, trial.Spec{Image: e.engine.Import(t, test.image)})
		failures := report.Failures()
		if report.Passed || len(failures) != 1 || failures[0].Check != test.check || !strings.Contains(failures[0].Text, test.text) {
			t.Errorf("%s: %s", name, report.Text())
		}
	}
	report := e.try(t, trial.Spec{Image: e.engine.Import(t, enginetest.Image{Files: files}), Args: "/app"})
	if !report.Passed {
		t.Errorf("arguments stand in for an entrypoint: %s", report.Text())
	}
}

// 20 trials at once, of apps that know each its own number.
func (e tester) many(t *testing.T) {
	image := e.script(t, `echo "$1" > /iexec_out/r; cat /iexec_in/$DATASET_FILENAME >> /iexec_out/r
[ $(($1 % 5)) = 0 ] && cat /proc/sys/kernel/random/uuid >> /iexec_out/r
echo '{"deterministic-output-path": "/iexec_out/r"}' > /iexec_out/computed.json`)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			dataset := filepath.Join(dir, fmt.Sprintf("d%d", i))
			if err := os.WriteFile(dataset, fmt.Appendf(nil, "data %d\n", i), 0o600); err != nil {
				t.Error(err)
				return
			}
			private := func(string) {
				found, err := filepath.Glob(filepath.Join(e.tmp, "iexecform-trial-*"))
				if err != nil {
					t.Error(err)
				}
				for _, d := range found {
					info, err := os.Stat(d)
					if err == nil && info.Mode().Perm() != 0o700 || err != nil && !errors.Is(err, os.ErrNotExist) {
						t.Errorf("others may read %s: %v %v", d, info, err)
					}
				}
			}
			report, err := trial.Run(t.Context(), trial.Spec{Image: image, Args: fmt.Sprint(i), Datasets: []string{dataset}, Progress: private})
			if err != nil {
				t.Error(err)
				return
			}
			sum := sha256.Sum256(fmt.Appendf(nil, "%d\ndata %d\n", i, i))
			want := []trial.Digest{{Rule: trial.FileRule, Path: "/iexec_out/r", Value: "0x" + hex.EncodeToString(sum[:])}}
			if i%5 == 0 {
				want = nil
			}
			if report.Passed != (i%5 != 0) || !slices.Equal(report.Digests, want) {
				t.Errorf("trial %d: %s", i, report.Text())
			}
		})
	}
	wg.Wait()
	e.nothingLeft(t, image)
}

// An interrupted trial ends at once and leaves nothing.
func (e tester) interrupted(t *testing.T) {
	image := e.script(t, "sleep 1000")
	reason := errors.New("no more time")
	for _, started := range []bool{false, true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		begun := e.engine.Starts(t, trial.Label+"="+image)
		spec := trial.Spec{Image: image, Progress: func(string) {
			if !started {
				cancel(reason)
				return
			}
			go func() {
				select {
				case <-begun:
				case <-t.Context().Done():
				}
				cancel(reason)
			}()
		}}
		_, err := trial.Run(ctx, spec)
		if !errors.Is(err, reason) || !strings.Contains(err.Error(), "broken off") {
			t.Errorf("%v", err)
		}
		e.nothingLeft(t, image)
	}
}

func (e tester) secrets(t *testing.T) {
	image := e.script(t, `
echo "$IEXEC_APP_DEVELOPER_SECRET $IEXEC_APP_DEVELOPER_SECRET_1 $IEXEC_REQUESTER_SECRET_1"
touch "/tmp/$IEXEC_REQUESTER_SECRET_1"; cat /proc/sys/kernel/random/uuid > "/iexec_out/$IEXEC_APP_DEVELOPER_SECRET"
{ echo "$IEXEC_REQUESTER_SECRET_1"; cat /proc/sys/kernel/random/uuid; } > "/iexec_out/r$IEXEC_REQUESTER_SECRET_1"
echo '{"deterministic-output-path": "/iexec_out/r'$IEXEC_REQUESTER_SECRET_1'"}' > /iexec_out/computed.json`)
	report := e.try(t, trial.Spec{Image: image, Secrets: map[string]string{"IEXEC_APP_DEVELOPER_SECRET": "hunter2", "IEXEC_REQUESTER_SECRET_1": "hunter22"}})
	b, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b)+report.Text(), "hunter2") {
		t.Errorf("the report has a secret: %s", b)
	}
	const app, requester = "(IEXEC_APP_DEVELOPER_SECRET)", "(IEXEC_REQUESTER_SECRET_1)"
	if got, want := report.Runs[0].Stdout, app+" "+app+" "+requester+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if len(report.Differences) == 0 || !strings.Contains(report.Differences[0].Diff, " "+requester+"\n") {
		t.Error(report.Text())
	}
	if _, err := trial.Run(t.Context(), trial.Spec{Image: image, Secrets: map[string]string{"TOKEN": "x"}}); err == nil || !strings.Contains(err.Error(), "TOKEN") {
		t.Errorf("a secret that no app can see: %v", err)
	}
}

// What an app prints is in the output that it names as a whole, as it is with the worker.
func (e tester) streams(t *testing.T) {
	image := e.script(t, `ln -s /etc/passwd /iexec_out/stderr.txt; rm /iexec_out/stderr.txt; echo out; echo err >&2
echo '{"deterministic-output-path": "/iexec_out"}' > /iexec_out/computed.json`)
	report := e.try(t, trial.Spec{Image: image})
	want := trial.IndependentDirectoryDigest("{\"deterministic-output-path\": \"/iexec_out\"}\n", "err\n", "out\n")
	if !report.Passed || report.Digests[0] != (trial.Digest{Rule: trial.DirectoryRule, Path: "/iexec_out", Value: want}) {
		t.Errorf("want %s: %s", want, report.Text())
	}
}

// An app has a network only when that is asked for. An engine without networks can't show more than what it is told.
func (e tester) network(t *testing.T) {
	report := e.try(t, trial.Spec{Image: e.script(t, writesResult+"ls /sys/class/net")})
	if !report.Passed || report.Runs[0].Stdout != "lo\n" {
		t.Error(report.Text())
	}
	for _, asked := range []bool{false, true} {
		image := e.script(t, "sleep 1000")
		label := trial.Label + "=" + image
		begun := e.engine.Starts(t, label)
		ctx, cancel := context.WithCancel(t.Context())
		var network string
		spec := trial.Spec{Image: image, Network: asked, Progress: func(string) {
			go func() {
				defer cancel()
				select {
				case <-begun:
					found, err := e.engine.ContainerList(t.Context(), client.ContainerListOptions{Filters: client.Filters{}.Add("label", label)})
					if err == nil && len(found.Items) == 1 {
						network = found.Items[0].HostConfig.NetworkMode
					}
				case <-t.Context().Done():
				}
			}()
		}}
		if _, err := trial.Run(ctx, spec); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-ctx.Done()
		if network == "" || (network == "none") == asked {
			t.Errorf("network asked for: %v, and the container has %q", asked, network)
		}
	}
}
