package main

import (
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/galago-go/galago/examples/internal/program"
)

// repository is where the documents are, seen from this package.
const repository = "../.."

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(repository, name))
	require.NoError(t, err)
	return string(b)
}

// blocks returns the code blocks of a document that are marked with a language.
func blocks(text, language string) []string {
	var found []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	return found
}

// Each block of Go in the README is a program that builds, or a test that passes, and the first, the echo server, has at
// most 30 lines.
func TestReadmeCodeBuilds(t *testing.T) {
	programs := blocks(document(t, "README.md"), "go")
	require.NotEmpty(t, programs)
	assert.LessOrEqual(t, strings.Count(programs[0], "\n"), 30, "lines of the echo server")

	here, err := filepath.Abs(".")
	require.NoError(t, err)
	own, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for i, source := range programs {
		dir := t.TempDir()
		name, first := "main.go", []string{"build", "-o", filepath.Join(dir, "program")}
		if strings.Contains(source, "*testing.T") {
			name, first = "readme_block_test.go", []string{"test", "-v"}
		}
		file, overlay := filepath.Join(dir, name), filepath.Join(dir, "overlay.json")
		require.NoError(t, os.WriteFile(file, []byte(source), 0o600))
		// An overlay puts the program in the place of this package, without writing there. So it builds with the
		// requirements of this module, as it is.
		replace := make(map[string]string)
		for _, other := range own {
			replace[filepath.Join(here, other)] = "" // not there
		}
		replace[filepath.Join(here, name)] = file
		b, err := json.Marshal(map[string]any{"Replace": replace})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(overlay, b, 0o600))

		gofmt, err := exec.Command("gofmt", "-l", file).CombinedOutput()
		require.NoError(t, err, "gofmt of block %d: %s", i, gofmt)
		assert.Empty(t, string(gofmt), "block %d is not formatted", i)
		for _, args := range [][]string{first, {"vet"}} {
			out, err := exec.Command("go", append(args, "-overlay", overlay, ".")...).CombinedOutput()
			assert.NoError(t, err, "go %s, block %d:\n%s", args[0], i, out)
			if args[0] == "test" {
				assert.Contains(t, string(out), "--- PASS", "block %d has no test", i)
			}
		}
	}
}

// The README tells every promise of package conn, in its words, with a test that proves it.
func TestReadmeTellsEveryPromise(t *testing.T) {
	_, text, ok := strings.Cut(document(t, "conn/doc.go"), "// # Promises\n")
	require.True(t, ok)
	text, _, _ = strings.Cut(text, "// #")
	var promises []string
	for _, item := range strings.Split(text, "//   - ")[1:] {
		promises = append(promises, strings.Join(strings.Fields(strings.ReplaceAll(item, "//", " ")), " "))
	}
	require.NotEmpty(t, promises)

	_, section, ok := strings.Cut(document(t, "README.md"), "## What it promises\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	var told []string
	row := regexp.MustCompile("(?m)^\\| (.*?) \\| `(?:Test|Fuzz)\\w+`.* \\|$")
	for _, m := range row.FindAllStringSubmatch(section, -1) {
		told = append(told, m[1])
	}
	assert.Equal(t, promises, told)
}

// The commands of the README name packages that are there, and flags that the echo server has.
func TestReadmeCommandsExist(t *testing.T) {
	commands := blocks(document(t, "README.md"), "sh")
	require.Equal(t, []string{"go run ./examples/echo -addr 127.0.0.1:7669\n", "go test ./...\n"}, commands,
		"the two commands, as .ci/run runs them")

	run := regexp.MustCompile(`go run (?:-C (\S+) )?(\./\S+|\.)`)
	for _, name := range documents(t) {
		for _, m := range run.FindAllStringSubmatch(document(t, name), -1) {
			dir := filepath.Join(repository, m[1], strings.Trim(m[2], "`"))
			assert.FileExists(t, filepath.Join(dir, "main.go"), "%s says %q", name, m[0])
		}
	}
	code, _, help := program.Run(t, "", "-help")
	require.Equal(t, 0, code)
	assert.Contains(t, help, "-addr")
	assert.Contains(t, help, "127.0.0.1:7669", "the default is what the README says")
}

// documents returns the paths of all documents, seen from the root of the repository.
func documents(t *testing.T) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".git") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			rel, err := filepath.Rel(repository, path)
			found = append(found, rel)
			return err
		}
		return nil
	}))
	require.Contains(t, found, "README.md")
	return found
}

func TestLinksOfDocumentsLead(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	for _, name := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(document(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			_, err := os.Stat(filepath.Join(repository, filepath.Dir(name), m[1]))
			assert.NoError(t, err, "%s links to %s", name, m[1])
		}
	}
}

// A document that says "this test proves it" names a test that is there.
func TestTestsNamedInDocumentsExist(t *testing.T) {
	declared := make(map[string]bool)
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	scripts := make(map[string]bool)
	require.NoError(t, filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(path, "_test.go"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range declaration.FindAllStringSubmatch(string(b), -1) {
				declared[m[1]] = true
			}
		case strings.Contains(path, "testdata"):
			scripts["testdata/"+d.Name()] = true
		}
		return nil
	}))

	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*|testdata/\\w+\\.txt)`")
	for _, name := range documents(t) {
		for _, m := range named.FindAllStringSubmatch(document(t, name), -1) {
			assert.True(t, declared[m[1]] || scripts[m[1]], "%s names %s, which is not there", name, m[1])
		}
	}
}
