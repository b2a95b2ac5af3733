package main

import (
	"errors"
	"fmt"
	"time"
)

// idle measures the processor time of idle connections: galago with a Framed layer at both ends, and a bare loop at both
// ends, at the same time.
func idle(s *settings, r *report) error {
	for _, t := range s.timeouts {
		span := s.span
		if t > time.Minute {
			span *= 2
		}
		if err := idleWith(s, r, t, span); err != nil {
			return err
		}
	}
	return nil
}

func idleWith(s *settings, r *report, t, span time.Duration) error {
	var all []*process
	defer func() { stopAll(all...) }()
	kinds := []string{"bare", "galago"}
	ends := map[string][2]*process{}
	for _, kind := range kinds {
		one := func(to string) (*process, error) {
			if kind == "bare" {
				return startBare(s.bare, t, nil, to, s.conns)
			}
			args := []string{"-kind", kind, "-timeout", t.String()}
			if to != "" {
				args = append(args, "-to", to, "-conns", fmt.Sprint(s.conns))
			}
			return start(args...)
		}
		server, err := one("")
		if err != nil {
			return err
		}
		all = append(all, server)
		client, err := one(server.addr())
		if err != nil {
			return err
		}
		all = append(all, client)
		if err := errors.Join(server.await("open", s.conns), client.await("open", s.conns)); err != nil {
			return err
		}
		ends[kind] = [2]*process{server, client}
	}
	time.Sleep(min(t/4, 5*time.Second)) // what connecting left behind settles
	read := func(what string) (v map[string][2]float64, err error) {
		v = map[string][2]float64{}
		for _, kind := range kinds {
			var two [2]float64
			for i, p := range ends[kind] {
				n, e := p.number(what)
				two[i], err = n, errors.Join(err, e)
			}
			v[kind] = two
		}
		return v, err
	}
	before, err := read("cpu")
	if err != nil {
		return err
	}
	spoken, err := ends["bare"][0].number("spoken")
	if err != nil {
		return err
	}
	began := time.Now()
	time.Sleep(span)
	after, err := read("cpu")
	if err != nil {
		return err
	}
	took := time.Since(began)
	spokenAfter, err := ends["bare"][0].number("spoken")
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		for _, p := range ends[kind] {
			if err := p.await("open", s.conns); err != nil {
				return fmt.Errorf("connections were lost: %w", err)
			}
		}
	}
	r.say("%d idle connections, T = %v, %v measured; %.0f keepalives a second each way", s.conns, t, took.Round(time.Second),
		(spokenAfter-spoken)/took.Seconds())
	share := func(kind string, i int) float64 {
		return 100 * (after[kind][i] - before[kind][i]) / 1e6 / took.Seconds()
	}
	sum := map[string]float64{}
	for _, kind := range kinds {
		sum[kind] = share(kind, 0) + share(kind, 1)
		r.say("  %-7s %6.2f %% of a core for the server, %6.2f %% for the client", kind, share(kind, 0), share(kind, 1))
	}
	if t > time.Minute {
		r.bar("galago, of a core, for each side", sum["galago"]/2, 2, " %")
		r.say("  galago / bare %35.2f", sum["galago"]/sum["bare"])
	} else {
		r.bar("galago / bare", sum["galago"]/sum["bare"], 1.3, "")
	}
	return nil
}
