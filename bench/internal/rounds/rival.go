package rounds

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/galago-go/galago/bench/internal/serve"
)

// A Rival is a server to be compared.
type Rival struct {
	Name    string // unique
	Kind    string // of package serve; "" if Shell is set
	Program string // another build of this program; if "", this one
	Shell   string // a command of anybody's
}

// Rivals makes those of a list of kinds, with commas between, where KIND@PROGRAM is that of another build; then of
// commands, each written as NAME=COMMAND. What comes again is called NAME#2 and so on. The error names what is wrong.
func Rivals(list string, commands []string, role serve.Role) (all []Rival, err error) {
	var errs []error
	known := serve.Names(role)
	for name := range strings.SplitSeq(list, ",") {
		kind, program, other := strings.Cut(name, "@")
		if !slices.Contains(known, kind) {
			errs = append(errs, fmt.Errorf("-rivals names %q: there are %s; -rival NAME=COMMAND adds a server of yours",
				name, strings.Join(known, ", ")))
		} else if other && program == "" {
			errs = append(errs, fmt.Errorf("-rivals names %q: after the @ goes the path of another build of this program", name))
		}
		all = append(all, Rival{Name: name, Kind: kind, Program: program})
	}
	for _, c := range commands {
		name, command, ok := strings.Cut(c, "=")
		if !ok || !validName.MatchString(name) || strings.TrimSpace(command) == "" {
			errs = append(errs, fmt.Errorf("-rival is %q: write it as NAME=COMMAND, where letters, digits and -._ make a NAME", c))
		}
		all = append(all, Rival{Name: name, Shell: command})
	}
	seen := map[string]int{}
	for i := range all {
		name := all[i].Name
		if seen[name]++; seen[name] > 1 {
			all[i].Name += "#" + strconv.Itoa(seen[name])
		}
	}
	return all, errors.Join(errs...)
}

var validName = regexp.MustCompile(`^[\w.-]+$`)

func (r Rival) about() string {
	if r.Shell != "" {
		return r.Shell
	}
	k, _ := serve.Find(r.Kind)
	return k.About
}

// command returns what starts the server, and what is added to its environment.
func (r Rival) command(role serve.Role, size int, tls bool) (command, env []string, err error) {
	if r.Shell != "" {
		addr, err := freeAddr()
		if err != nil {
			return nil, nil, err
		}
		env = []string{"BENCH_ROLE=" + string(role), "BENCH_SIZE=" + strconv.Itoa(size)}
		if tls {
			env = append(env, "BENCH_TLS=1")
		}
		return []string{"/bin/sh", "-c", "exec " + r.Shell + " -addr " + addr}, env, nil
	}
	program := r.Program
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return nil, nil, err
		}
	}
	command = []string{program, "serve", "-role", string(role), "-kind", r.Kind}
	if size > 0 {
		command = append(command, "-size", strconv.Itoa(size))
	}
	if tls {
		command = append(command, "-tls")
	}
	return command, nil, nil
}

// freeAddr returns an address of the loopback at which nobody listens.
func freeAddr() (string, error) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
