package result

import (
	"fmt"
	"reflect"
	"slices"
)

// Join puts together what several calls of bench measured, on one machine at one commit: their runs in this order. The
// names are those of the files, for the error that says what does not belong together.
func Join(files []*File, names []string) (*File, error) {
	all := *files[0]
	all.Command, all.Runs = undivided(files[0].Command), nil
	for i, f := range files {
		a, b := f.Machine, all.Machine
		if a.Commit != b.Commit {
			return nil, fmt.Errorf("%s was measured at commit %q, %s at %q: figures of different commits do not belong together",
				names[0], b.Commit, names[i], a.Commit)
		}
		if !reflect.DeepEqual(a, b) {
			return nil, fmt.Errorf("%s was measured on another machine than %s: figures of different machines do not belong together", names[i], names[0])
		}
		if f.Started.Before(all.Started) {
			all.Started = f.Started
		}
		if !slices.Equal(undivided(f.Command), all.Command) {
			all.Command = []string{"all"}
		}
		all.Runs = append(all.Runs, f.Runs...)
	}
	return &all, nil
}

// undivided is a call of all without -only, which divides it into pieces, and without the files that it wrote.
func undivided(command []string) []string {
	command = WithoutFiles(command)
	if i := slices.Index(command, "-only"); len(command) > 0 && command[0] == "all" && i > 0 {
		command = slices.Delete(command, i, min(i+2, len(command)))
	}
	return command
}

// WithoutFiles is a call of bench without the flags that say where results go.
func WithoutFiles(command []string) (rest []string) {
	for i := 0; i < len(command); i++ {
		if slices.Contains([]string{"-json", "-html", "-png"}, command[i]) {
			i++
			continue
		}
		rest = append(rest, command[i])
	}
	return rest
}
