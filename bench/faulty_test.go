package main

import (
	"fmt"
	"net"
	"os"
	"time"

	"github.com/galago-go/galago/bench/internal/pressure"
	"github.com/galago-go/galago/bench/internal/serve"
)

// Servers that break one promise each. They are called galago-..., so that a broken promise is a failure; tests of
// back-pressure use them by name.
func init() {
	add := func(fault string, room serve.Func) {
		serve.Kinds = append(serve.Kinds, serve.Kind{Name: "galago-" + fault, About: "for tests",
			Roles: map[serve.Role]serve.Func{serve.Room: room}})
	}
	of := func(rival string) serve.Func { // which promised nothing
		k, _ := serve.Find(rival)
		return k.Roles[serve.Room]
	}
	add("hoards", of("net-queue"))
	add("waits", of("net"))
	for _, fault := range []string{"loses", "garbles", "forgets", "repeats", "sticks", "dies", "stays"} {
		add(fault, func(cfg serve.Config) error { return faulty(cfg, fault) })
	}
}

// faulty is a room in which every member has a goroutine of its own, with a fault.
func faulty(cfg serve.Config, fault string) error {
	account := pressure.NewAccount(pressure.Brief)
	ln, err := net.Listen("tcp4", cfg.Addr)
	if err != nil {
		return err
	}
	cfg.Ready(ln.Addr().String())
	go account.Report(cfg.Reports, cfg.Pressure.Report)
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		m := &faultyMember{Conn: nc, fault: fault, cfg: cfg.Pressure, ledger: account.Open()}
		go m.run()
	}
}

type faultyMember struct {
	net.Conn
	fault  string
	cfg    pressure.Settings
	ledger *pressure.Ledger
	stuck  bool
}

func (m *faultyMember) run() {
	stop, told := make(chan struct{}), make(chan struct{})
	for word := make([]byte, 1); ; {
		if _, err := m.Read(word); err != nil {
			break
		}
		if word[0] == pressure.Begin {
			go func() {
				defer close(told)
				pressure.Tick(m.cfg.Every, stop, m.tell)
			}()
		} else {
			m.SetWriteDeadline(time.Now().Add(m.cfg.CloseTime))
			close(stop)
			<-told
			break
		}
	}
	if m.fault == "stays" {
		return // without an end
	}
	m.Close()
	m.ledger.Close()
}

func (m *faultyMember) tell(n uint64, due int64) {
	record := make([]byte, m.cfg.Record)
	pressure.Fill(record, n, due)
	faulty := n%50 == 0
	if faulty && m.fault == "garbles" {
		record[m.cfg.Record-1]++
	}
	if faulty && m.fault == "dies" {
		fmt.Fprintln(os.Stderr, "panic: no more")
		os.Exit(2)
	}
	if m.stuck {
		m.ledger.Refused("stuck")
		return
	}
	token := m.ledger.Start(len(record))
	begin := time.Now()
	var err error
	if !faulty || m.fault != "loses" {
		_, err = m.Write(record)
	}
	m.stuck = m.fault == "sticks" && time.Since(begin) > 20*time.Millisecond
	if !faulty || m.fault != "forgets" {
		m.ledger.Finish(token, len(record), err == nil)
	}
	if faulty && m.fault == "repeats" {
		m.ledger.Settled(token, err == nil, 0)
	}
}
