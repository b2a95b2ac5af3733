package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// childWord, as its first argument, makes a process one that is measured.
const childWord = "child"

// child is what such a process does: it plays a role, and answers questions, each a word in a line.
func child(args []string) error {
	var role role
	flags := flag.NewFlagSet("child", flag.ContinueOnError)
	kind := flags.String("kind", "", "galago, watch, echo")
	flags.StringVar(&role.to, "to", "", "address to dial")
	flags.IntVar(&role.conns, "conns", 0, "connections to open")
	flags.DurationVar(&role.timeout, "timeout", 0, "T")
	flags.StringVar(&role.layer, "layer", "", "none, passive, framed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	answers := map[string]func() string{"cpu": func() string { return fmt.Sprint(cpuTime().Microseconds()) }}
	role.answers(answers)
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			if f := answers[in.Text()]; f != nil {
				fmt.Println(f())
			} else {
				fmt.Println("what?")
			}
		}
		os.Exit(0) // the parent is gone
	}()
	return role.run(*kind)
}

func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A process is a child as its parent sees it.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	first string // its first line
}

// patience is how long a child may take to answer.
const patience = 60 * time.Second

// start starts a process with a Network.
func start(args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return launch(exec.Command(self, append([]string{childWord}, args...)...))
}

func launch(cmd *exec.Cmd) (p *process, err error) {
	p = &process{name: strings.Join(cmd.Args, " "), cmd: cmd, lines: make(chan string, 100)}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.lines <- lines.Text()
		}
		close(p.lines)
	}()
	p.first, err = p.line()
	if err != nil {
		p.stop()
	}
	return p, err
}

func (p *process) line() (string, error) {
	select {
	case s, ok := <-p.lines:
		if !ok {
			return "", fmt.Errorf("the process %q has ended", p.name)
		}
		return s, nil
	case <-time.After(patience):
		return "", fmt.Errorf("the process %q does not answer", p.name)
	}
}

// addr is where it listens.
func (p *process) addr() string { return strings.TrimPrefix(p.first, "listening on ") }

func (p *process) ask(what string) (string, error) {
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		return "", err
	}
	return p.line()
}

func (p *process) number(what string) (float64, error) {
	s, err := p.ask(what)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(s, 64)
}

// await asks until the answer is n.
func (p *process) await(what string, n int) error {
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		got, err := p.number(what)
		if err != nil || int(got) == n {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%q: %s is %v and not %d", p.name, what, got, n)
		}
	}
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// stopAll ends all that were started.
func stopAll(all ...*process) {
	for _, p := range all {
		if p != nil {
			p.stop()
		}
	}
}

// pin lets a process run on one processor only, if there are several.
func pin(pid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range tasks {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return err
		}
		if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH {
			errs = append(errs, os.NewSyscallError("sched_setaffinity", err))
		}
	}
	return errors.Join(errs...)
}
