package experiment

import (
	"fmt"
	"time"

	"github.com/galago-go/galago/bench/internal/load"
	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/serve"
)

// Params are what the scripts are made of. Sizes are in bytes, rates in bytes per second.
type Params struct {
	Phase   time.Duration // of a script: most have four
	Peers   int           // of the crowd
	Record  int           // of a feed, a flood, a pump
	Tick    int           // size of a record of the crowd
	Ticks   int           // of these, per second
	Feed    int           // rate at which records are due
	Slow    int           // rate of the slow reader
	Flood   int           // rate at which a peer floods
	High    int           // galago's HighWater
	Low     int           // galago's LowWater
	Buffer  int           // of the system, for sending at the server and for reading at the special peers
	Highs   []int         // of the sweep
	Sampled time.Duration // from one look to the next
}

// Keys are the words for the experiments, in their order.
var Keys = []string{"slow", "stalled", "resume", "crowd", "flood", "sweep"}

// Scripts are all experiments.
func (p Params) Scripts() []*Experiment {
	return []*Experiment{p.slow(), p.stalled(), p.resume(), p.crowd(), p.flood(), p.sweep()}
}

func (p Params) settings() pressure.Settings {
	return pressure.Settings{Record: p.Record, High: p.High, Low: p.Low, Buffer: p.Buffer, CloseTime: p.Phase, Report: p.Sampled}
}

// feed is an experiment with one peer, to which records are due at a fixed rate.
func (p Params) feed(key, what, title string, steps ...Step) *Experiment {
	x := &Experiment{Key: key, Case: what, Title: title, Role: serve.Room, Peers: 1, Special: 1, Settings: p.settings(), Steps: steps,
		Notes: []string{fmt.Sprintf("records of %s are due at %s; one that galago refuses is left out, the others are late instead",
			size(p.Record), rate(p.Feed)), p.buffers()}}
	x.Settings.Every = time.Duration(float64(p.Record) / float64(p.Feed) * float64(time.Second))
	return x
}

func (p Params) buffers() string {
	if p.Buffer == 0 {
		return "the buffers of the system are as large as it likes, which may be megabytes"
	}
	return fmt.Sprintf("SO_SNDBUF of the server and SO_RCVBUF of the peer are %s, of which the system makes about twice as much", size(p.Buffer))
}

func (p Params) slow() *Experiment {
	return p.feed("slow", "slow reader", fmt.Sprintf("slow reader: records at %s to a peer that reads %s for a while", rate(p.Feed), rate(p.Slow)),
		Step{Text: "reads all", For: p.Phase, Reads: load.Free},
		Step{Text: "reads slowly", For: 2 * p.Phase, Reads: load.Speed(p.Slow), Trouble: true},
		Step{Text: "reads all", For: p.Phase, Reads: load.Free})
}

func (p Params) stalled() *Experiment {
	x := p.feed("stalled", "stalled reader", fmt.Sprintf("stalled reader: records at %s to a peer that stops reading for good", rate(p.Feed)),
		Step{Text: "reads all", For: p.Phase, Reads: load.Free},
		Step{Text: "does not read any more", For: 2 * p.Phase, Reads: load.Stopped, Trouble: true})
	x.Abandons = true
	x.Notes = append(x.Notes, fmt.Sprintf("then the server is told to end: a peer that takes nothing for %v is to be given up", p.Phase))
	return x
}

func (p Params) resume() *Experiment {
	return p.feed("resume", "stops and resumes", fmt.Sprintf("stop and resume: records at %s to a peer that does not read for a while", rate(p.Feed)),
		Step{Text: "reads", For: p.Phase, Reads: load.Free},
		Step{Text: "stops", For: p.Phase, Reads: load.Stopped, Trouble: true},
		Step{Text: "reads again", For: 2 * p.Phase, Reads: load.Free})
}

// narrow is p with smaller buffers, for experiments in which so little goes to a peer that larger ones would hide what
// happens.
func (p Params) narrow() Params {
	p.Buffer /= 4
	return p
}

func (p Params) crowd() *Experiment {
	p = p.narrow()
	x := &Experiment{Key: "crowd", Case: fmt.Sprintf("one slow among %d", p.Peers),
		Title: fmt.Sprintf("one slow among a crowd: %d records of %s per second to each of %d peers, one of which stops reading for a while",
			p.Ticks, size(p.Tick), p.Peers),
		Role: serve.Room, Peers: p.Peers, Special: 1, Settings: p.settings(), Control: true,
		Steps: []Step{
			{Text: "all read", For: p.Phase, Reads: load.Free},
			{Text: "one stops", For: 4 * p.Phase, Reads: load.Stopped, Trouble: true},
			{Text: "it reads again", For: p.Phase, Reads: load.Free},
		},
		Notes: []string{"one goroutine, or actor, sends each record to everybody; it is due for all at the same time, so most of a delay " +
			"is that of the many before; it is run a second time in which nobody stops", p.buffers()}}
	x.Settings.Record, x.Settings.Every = p.Tick, time.Second/time.Duration(p.Ticks)
	return x
}

func (p Params) flood() *Experiment {
	x := &Experiment{Key: "flood", Case: "flood",
		Title: fmt.Sprintf("flood: a peer sends %s to a server that sends it back, and does not read the answers for a while", rate(p.Flood)),
		Role:  serve.Flood, Peers: 1, Special: 1, Settings: p.settings(), Slack: 64 << 10,
		Steps: []Step{
			{Text: "sends and reads", For: p.Phase, Reads: load.Free, Sends: load.Speed(p.Flood)},
			{Text: "only sends", For: 2 * p.Phase, Reads: load.Stopped, Sends: load.Speed(p.Flood), Trouble: true},
			{Text: "reads again", For: p.Phase, Reads: load.Free, Sends: load.Speed(p.Flood)},
		},
		Variants: []Variant{{}, {", ReadWaits off", func(s *pressure.Settings) { s.ReadsOn = true }}},
		Notes: []string{"with ReadWaits, galago does not read while it cannot send, so that the peer has to wait; without it, what it reads " +
			"meanwhile is refused", "what a server has read and not looked at yet counts as pending, as far as it tells", p.buffers()}}
	return x
}

func (p Params) sweep() *Experiment {
	p = p.narrow()
	x := &Experiment{Key: "sweep", Case: "high and low water",
		Title: fmt.Sprintf("high and low water: as many records as Send accepts, to one peer that reads %s", rate(p.Slow)),
		Role:  serve.Pump, Peers: 1, Special: 1, Settings: p.settings(), Sweeps: true,
		Steps: []Step{{Text: "reads", For: p.Phase, Reads: load.Speed(p.Slow), Trouble: true}},
		Notes: []string{fmt.Sprintf("records of %s; a delay is from when a record was made; an unbounded queue cannot take part, for it "+
			"never says stop", size(p.Record)), p.buffers()}}
	for _, high := range p.Highs {
		for _, low := range []int{max(1, high/16), max(1, high/2), high} {
			x.Variants = append(x.Variants, Variant{fmt.Sprintf(" %s/%s", size(high), size(low)), func(s *pressure.Settings) { s.High, s.Low = high, low }})
		}
	}
	return x
}

func size(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

func rate(n int) string { return size(n) + "/s" }
