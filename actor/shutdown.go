package actor

import (
	"context"
	"errors"
	"fmt"
	"time"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/conn"
)

// abortGrace is how long Shutdown waits for connections that it aborted. That takes no time, unless a callback blocks
// an event loop.
const abortGrace = 5 * time.Second

// Shutdown stops accepting, closes every connection as [Close] does, and aborts those left when ctx ends. It returns
// how many ended in order and how many were cut off, by us, by the peer or by a time-out, since the first call of
// Shutdown. The actors that [Network.Spawn] made come last: they are stopped behind the mail that they have, or at once
// when ctx ends. If any connection or any of them was left when ctx ended, its error is returned.
//
// When it returns, nothing of the network is left; but if a callback blocks, it gives up 5 s after ctx,
// with an error that says so, and may be called again. It must not be called in a callback: it would wait for itself.
// A second call, at any time, waits as the first does.
func (n *Network) Shutdown(ctx context.Context) (closed, aborted int, err error) {
	n.mu.Lock()
	n.closing.Store(true)
	listeners := n.listeners
	n.listeners = nil
	n.mu.Unlock()
	var errs []error
	for _, ln := range listeners {
		errs = append(errs, ln.inner.Close())
	}
	if !n.isDown() {
		errs = append(errs, n.end(ctx))
	}
	return int(n.closed.Load()), int(n.aborted.Load()), errors.Join(errs...)
}

func (n *Network) isDown() bool {
	select {
	case <-n.down:
		return true
	default:
		return false
	}
}

// end ends all connections, and then what served them.
func (n *Network) end(ctx context.Context) error {
	grace, cancel := n.graceAfter(ctx)
	defer cancel()
	late := ctx.Err()
	if late == nil {
		for _, s := range n.sups {
			s.end(func(p proto.Process, pid *proto.PID) { p.SendUserMessage(pid, new(Close)) })
		}
		late = n.wait(ctx)
	}
	if late != nil {
		n.aborting.Store(true)
		for _, s := range n.sups {
			s.end(func(p proto.Process, pid *proto.PID) { p.SendSystemMessage(pid, stopMessage) })
		}
		if n.wait(grace) != nil {
			return errors.Join(late, fmt.Errorf("actor: %d connections did not end in %v: a callback blocks them, or their event loop",
				n.left(), n.grace))
		}
	}
	left, err := n.endResidents(ctx, grace)
	if left && late == nil {
		late = ctx.Err()
	}
	if err != nil {
		return errors.Join(late, err)
	}
	n.finish.Do(func() { go n.stop() })
	select {
	case <-n.down:
		return errors.Join(late, n.err)
	case <-grace.Done():
		return errors.Join(ctx.Err(), fmt.Errorf("actor: an event loop did not end in %v: newActor blocks it", n.grace))
	}
}

// endResidents stops the actors without a connection: behind the mail that they have, and when ctx ends, at once. left
// says whether there were any when it ended.
func (n *Network) endResidents(ctx, grace context.Context) (left bool, err error) {
	all := n.residents.end()
	if ctx.Err() == nil {
		for _, r := range all {
			r.PostUserMessage(new(proto.PoisonPill))
		}
	}
	if n.residents.wait(ctx) == 0 {
		return false, nil
	}
	for _, r := range all {
		r.PostSystemMessage(stopMessage)
	}
	if count := n.residents.wait(grace); count > 0 {
		err = fmt.Errorf("actor: %d actors without a connection did not end in %v: one of them, or a child, blocks: %s",
			count, n.grace, n.residents.names())
	}
	return true, err
}

// graceAfter returns a context that ends some time after ctx.
func (n *Network) graceAfter(ctx context.Context) (grace context.Context, cancel context.CancelFunc) {
	grace, end := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(n.grace):
			end()
		case <-grace.Done():
		}
	})
	return grace, func() {
		stop()
		end()
	}
}

// wait waits until no connection is left, or ctx ends.
func (n *Network) wait(ctx context.Context) error {
	for _, s := range n.sups {
		select {
		case <-s.empty:
			continue
		default:
		}
		select {
		case <-s.empty:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// left counts the connections.
func (n *Network) left() (count int) {
	for _, s := range n.sups {
		s.mu.Lock()
		count += len(s.ctx.Children()) + s.making
		s.mu.Unlock()
	}
	return count
}

// stop ends what served the connections: supervisors first, which need their loops.
func (n *Network) stop() {
	defer close(n.down)
	for _, s := range n.sups {
		s.stop()
	}
	var errs []error
	for _, s := range n.sups {
		<-s.stopped
		errs = append(errs, s.loop.Close())
	}
	if n.own {
		n.sys.Shutdown()
	}
	n.err = errors.Join(errs...)
}

// ended counts the end of a connection, if the network is being shut down. err is what its last callback is told.
func (n *Network) ended(err error) {
	if !n.closing.Load() {
		return
	}
	var failed *conn.ConnectError
	orderly := err == nil || errors.As(err, &failed) && failed.Stage == conn.StageClosed && !n.aborting.Load()
	if orderly {
		n.closed.Add(1)
	} else {
		n.aborted.Add(1)
	}
}
