// Package experiment runs scripted experiments with back-pressure: peers that read slowly, not at all, or not any more,
// at servers that report what they hold and what became of their sends. It draws up what happened over time, and says
// of each promise whether it was kept.
//
// A script is the same for all servers: a few steps, each of which lasts as long as it says, whatever the server does.
// Every byte is checked where it arrives, and compared with what the server says it accepted.
package experiment

import (
	"time"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/serve"
)

// An Experiment is one script, with its parameters.
type Experiment struct {
	Key   string // a word
	Case  string // a few words
	Title string // a sentence
	Notes []string

	Role     serve.Role
	Peers    int // of which the last Special are what it is about
	Special  int
	Settings pressure.Settings
	Variants []Variant // of galago; if none, galago as it is

	Steps []Step
	// Abandons says that the special peers do not read in the end: the server has to give them up.
	Abandons bool
	// Control says that it is run a second time with nobody special, to compare what the others see.
	Control bool
	// Sweeps says that the variants are many, and one verdict is for all of them.
	Sweeps bool
	// Slack is how many bytes a server may hold beyond Settings.Bound: what it reads at once.
	Slack int
}

// A Variant is galago with other settings.
type Variant struct {
	Suffix string // of its name
	Change func(*pressure.Settings)
}

// A Step is a stretch of time in which the special peers behave in one way.
type Step struct {
	Text  string // in a word or two
	For   time.Duration
	Reads load.Speed
	Sends load.Speed
	// Trouble says that this is the step that the experiment is about. What is before it is what it is compared with.
	Trouble bool
}

// trouble returns the number of the step that the experiment is about.
func (x *Experiment) trouble() int {
	for i, s := range x.Steps {
		if s.Trouble {
			return i
		}
	}
	return len(x.Steps) - 1
}

// recovers reports whether something comes after the trouble.
func (x *Experiment) recovers() bool { return x.trouble() < len(x.Steps)-1 }

// compares reports whether there is a step before the trouble.
func (x *Experiment) compares() bool { return x.trouble() > 0 }

// length is how long one trial takes, about.
func (x *Experiment) length() (d time.Duration) {
	for _, s := range x.Steps {
		d += s.For
	}
	return d
}
