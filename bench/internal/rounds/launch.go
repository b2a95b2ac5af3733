package rounds

import (
	"github.com/galago-go/galago/bench/internal/proc"
	"github.com/galago-go/galago/bench/internal/serve"
)

// A Launch starts a server by itself, for experiments that go another way than Run.
type Launch struct {
	CPUs     proc.CPUs
	Role     serve.Role
	TLS      bool
	Pressure string // settings, as package pressure writes them
}

// Start starts the server of a rival. The caller stops it. command is what does it again.
func (l Launch) Start(r Rival) (s *proc.Server, command []string, err error) {
	command, env, err := r.command(l.Role, 0, l.TLS)
	if err != nil {
		return nil, nil, err
	}
	if r.Shell == "" {
		command = append(command, "-pressure", l.Pressure)
	} else {
		env = append(env, "BENCH_PRESSURE="+l.Pressure)
	}
	if s, err = proc.Start(command, env, l.CPUs); err != nil {
		return nil, nil, err
	}
	if r.Shell == "" && r.Program == "" {
		command[0] = "bench"
	}
	return s, command, nil
}

// About says in a few words what the server of a rival is.
func (r Rival) About() string { return r.about() }

// Plays reports whether a rival has a server for a role. Anybody's server is one that echoes.
func (r Rival) Plays(role serve.Role) bool {
	if r.Shell != "" {
		return role == serve.Flood || role == serve.Echo
	}
	k, ok := serve.Find(r.Kind)
	return ok && k.Roles[role] != nil
}

// SharedProcessors warns of processors that server and load both use.
func SharedProcessors(server, load proc.CPUs) []string {
	return sharedProcessors(Config{ServerCPUs: server, LoadCPUs: load})
}
