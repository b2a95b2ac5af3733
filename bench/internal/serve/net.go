package serve

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
)

// netKind is what most Go programs do: package net, a goroutine and a buffer for each connection.
var netKind = Kind{
	Name:  "net",
	About: "package net, a goroutine and a buffer for each connection; one write for each frame",
	TLS:   true,
	Roles: map[Role]Func{Echo: netEcho, Frames: netFrames, Sink: netSink, Source: netSource, Fanout: netFanout, Work: netWork,
		Room: netRoom, Flood: netFlood, Pump: netPump},
}

// netBufioKind differs where there are frames only.
var netBufioKind = Kind{
	Name:  "net-bufio",
	About: "the same, but answers are collected in a bufio.Writer, which is flushed when no whole frame is left to read",
	TLS:   true,
	Roles: map[Role]Func{Frames: netBufioFrames},
}

// listenNet runs serve on a goroutine for each connection, and closes it then.
func listenNet(cfg Config, serve func(net.Conn)) error {
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return err
	}
	if cfg.TLS != nil {
		ln = tls.NewListener(ln, cfg.TLS)
	}
	cfg.Ready(ln.Addr().String())
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			serve(nc)
		}()
	}
}

func netEcho(cfg Config) error {
	return listenNet(cfg, func(nc net.Conn) {
		buf := make([]byte, readSize)
		for {
			n, err := nc.Read(buf)
			if err != nil {
				return
			}
			if _, err := nc.Write(buf[:n]); err != nil {
				return
			}
		}
	})
}

func netFrames(cfg Config) error {
	return listenNet(cfg, func(nc net.Conn) {
		in, frame := bufio.NewReaderSize(nc, readSize), make([]byte, FramePrefix+cfg.Size)
		for {
			n, err := readFrame(in, frame)
			if err != nil {
				return
			}
			if _, err := nc.Write(frame[:n]); err != nil {
				return
			}
		}
	})
}

func netBufioFrames(cfg Config) error {
	return listenNet(cfg, func(nc net.Conn) {
		in, out := bufio.NewReaderSize(nc, readSize), bufio.NewWriterSize(nc, readSize)
		frame := make([]byte, FramePrefix+cfg.Size)
		for {
			n, err := readFrame(in, frame)
			if err != nil {
				return
			}
			if _, err := out.Write(frame[:n]); err != nil {
				return
			}
			if in.Buffered() >= FramePrefix {
				continue // it may block with answers unflushed only if a frame is not whole; its rest is under way
			}
			if err := out.Flush(); err != nil {
				return
			}
		}
	})
}

// readFrame reads a frame into p, and returns its length with its prefix.
func readFrame(in *bufio.Reader, p []byte) (n int, err error) {
	if _, err := io.ReadFull(in, p[:FramePrefix]); err != nil {
		return 0, err
	}
	n = FramePrefix + int(binary.BigEndian.Uint32(p))
	if n > len(p) {
		return 0, errors.New("the frame is too long")
	}
	_, err = io.ReadFull(in, p[FramePrefix:n])
	return n, err
}

func netSink(cfg Config) error {
	return listenNet(cfg, func(nc net.Conn) {
		buf := make([]byte, readSize)
		for t := new(tally); ; {
			n, err := nc.Read(buf)
			if err != nil {
				return
			}
			if answer := t.take(n); answer != nil {
				if _, err := nc.Write(answer); err != nil {
					return
				}
			}
		}
	})
}

func netSource(cfg Config) error {
	return listenNet(cfg, func(nc net.Conn) {
		for at := 0; ; {
			n, err := nc.Write(Pattern[at:min(at+cfg.Size, len(Pattern))])
			if err != nil {
				return
			}
			at = (at + n) % len(Pattern)
		}
	})
}

func netWork(cfg Config) error {
	return listenNet(cfg, func(nc net.Conn) {
		message := make([]byte, WorkSize)
		for {
			if _, err := io.ReadFull(nc, message); err != nil {
				return
			}
			DoWork(message)
			if _, err := nc.Write(message); err != nil {
				return
			}
		}
	})
}

// netFanout has, for each connection, a channel and a goroutine that writes what comes through it; and one that reads.
func netFanout(cfg Config) error {
	joins, leaves, bursts := make(chan chan []byte), make(chan chan []byte), make(chan byte, 16)
	go func() {
		var all []chan []byte
		for {
			select {
			case ch := <-joins:
				all = append(all, ch)
				ch <- News
			case ch := <-leaves:
				close(ch)
				all = slices.DeleteFunc(all, func(x chan []byte) bool { return x == ch })
			case times := <-bursts:
				for range times {
					for _, ch := range all {
						ch <- News
					}
				}
			}
		}
	}()
	return listenNet(cfg, func(nc net.Conn) {
		ch := make(chan []byte, 16)
		go func() {
			for p := range ch {
				nc.Write(p) // if it fails the reader hears of it
			}
		}()
		joins <- ch
		buf := make([]byte, 64)
		for {
			if _, err := nc.Read(buf); err != nil {
				leaves <- ch
				return
			}
			bursts <- buf[0]
		}
	})
}
