package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	proto "github.com/asynkron/protoactor-go/actor"

	"github.com/galago-go/galago/actor"
	"github.com/galago-go/galago/conn"
)

const (
	// maxWaiting is how many lines may be on the way to one member: in its mailbox, or accepted by its connection and
	// not written. The connection's own bound is in bytes, conn.Config.HighWater; this one is for the mailbox.
	maxWaiting = 1000

	maxName = 20 // bytes of a name, of a member or of a room
	lobby   = "lobby"
)

// A seat is what the hub knows of a member.
type seat struct {
	who  *proto.PID // its connection
	name string
	room string

	waiting int // lines sent to it, neither written nor refused
	missed  int // lines that it did not get since it last got one
	out     bool
}

// hub is a plain actor: it has no connection, and its messages come one at a time. Members are seats to it, and seats
// are PIDs, so it does not matter on which event loop a member lives.
type hub struct {
	limit int
	seats map[string]*seat            // by the id of its PID
	names map[string]*seat            // who has a name
	rooms map[string]map[string]*seat // by name, then as in seats
	last  int                         // of the names that are given to guests

	said, allMissed, thrownOut int
}

func newHub(limit int) *hub {
	return &hub{
		limit: limit,
		seats: make(map[string]*seat),
		names: make(map[string]*seat),
		rooms: make(map[string]map[string]*seat),
	}
}

// Receive handles what members say, and what came of what they were sent.
func (h *hub) Receive(ctx proto.Context) {
	switch msg := ctx.Message().(type) {
	case *enter:
		h.enter(ctx, ctx.Sender())
	case *leave:
		h.leave(ctx, h.seats[ctx.Sender().Id])
	case *line:
		ctx.Respond(new(heard))
		if s := h.seats[ctx.Sender().Id]; s != nil {
			h.hear(ctx, s, msg)
		}
	case *actor.Written:
		h.settled(ctx, msg.Ack.(*seat))
	case *actor.WriteFailed:
		// The connection had too much pending, or it ended. The latter needs no care: it leaves.
		s := msg.Ack.(*seat)
		if errors.Is(msg.Err, conn.ErrNotWriteable) {
			h.miss(ctx, s)
		}
		h.settled(ctx, s)
	}
}

// tell sends a line to one member, tellRoom to all that are in a room, but for one. However many they are, they share
// the bytes, which nobody changes any more.
func (h *hub) tell(ctx proto.Context, s *seat, format string, args ...any) {
	h.send(ctx, s, fmt.Appendf(nil, format+"\n", args...))
}

func (h *hub) tellRoom(ctx proto.Context, room string, but *seat, format string, args ...any) {
	data := fmt.Appendf(nil, format+"\n", args...)
	for _, s := range h.rooms[room] {
		if s != but {
			h.send(ctx, s, data)
		}
	}
}

// send lets a member hear a line, or miss it. Once we know that it missed one, it misses all until everything on the
// way to it is written: so it is told of one gap, and not of a hundred small ones.
//
// The answer to a Write comes back with its Ack. That is the seat; the connection only carries it.
func (h *hub) send(ctx proto.Context, s *seat, data []byte) {
	if s.missed > 0 || s.waiting >= maxWaiting {
		h.miss(ctx, s)
		return
	}
	s.waiting++
	ctx.Request(s.who, &actor.Write{Data: data, Ack: s})
}

// miss counts a line that a member does not get; if these are too many, it is thrown out.
func (h *hub) miss(ctx proto.Context, s *seat) {
	s.missed++
	h.allMissed++
	if s.missed >= h.limit && !s.out {
		s.out = true
		h.thrownOut++
		ctx.Send(s.who, &throwOut{s.missed})
	}
}

// settled notes that one line less is on the way. If it was the last one, the member reads again: it is told what it
// missed, and hears the others from there on.
func (h *hub) settled(ctx proto.Context, s *seat) {
	s.waiting--
	if s.waiting > 0 || s.missed == 0 || s.out {
		return
	}
	missed := s.missed
	s.missed = 0
	h.tell(ctx, s, "* you missed %d lines", missed)
}

// enter gives a new member a seat in the lobby.
func (h *hub) enter(ctx proto.Context, who *proto.PID) {
	s := &seat{who: who}
	for s.name == "" || h.names[s.name] != nil {
		h.last++
		s.name = fmt.Sprintf("guest%d", h.last)
	}
	h.seats[who.Id], h.names[s.name] = s, s
	h.sit(ctx, s, lobby)
}

func (h *hub) leave(ctx proto.Context, s *seat) {
	if s == nil {
		return
	}
	delete(h.seats, s.who.Id)
	delete(h.names, s.name)
	h.rise(ctx, s)
}

// sit puts a member into a room, rise takes it out. A room is there while somebody is in it.
func (h *hub) sit(ctx proto.Context, s *seat, room string) {
	h.tellRoom(ctx, room, nil, "* %s enters %s", s.name, room)
	if h.rooms[room] == nil {
		h.rooms[room] = make(map[string]*seat)
	}
	h.rooms[room][s.who.Id] = s
	s.room = room
	h.tell(ctx, s, "* you are %s, in %s", s.name, room)
}

func (h *hub) rise(ctx proto.Context, s *seat) {
	delete(h.rooms[s.room], s.who.Id)
	if len(h.rooms[s.room]) == 0 {
		delete(h.rooms, s.room)
	}
	h.tellRoom(ctx, s.room, nil, "* %s leaves %s", s.name, s.room)
}

// hear does what a member wants.
func (h *hub) hear(ctx proto.Context, s *seat, l *line) {
	switch l.command {
	case "":
		h.said++
		h.tellRoom(ctx, s.room, s, "%s: %s", s.name, l.text)
	case "/nick":
		h.rename(ctx, s, l.text)
	case "/join":
		switch {
		case !isName(l.text):
			h.tell(ctx, s, "* no room can be called %q: %s", l.text, nameRule)
		case l.text != s.room:
			h.rise(ctx, s)
			h.sit(ctx, s, l.text)
		}
	case "/who":
		var names []string
		for _, other := range h.rooms[s.room] {
			names = append(names, other.name)
		}
		slices.Sort(names)
		h.tell(ctx, s, "* in %s: %s", s.room, strings.Join(names, " "))
	default:
		h.tell(ctx, s, "* there is no %s: say /nick NAME, /join ROOM, /who, /quit, or just talk", l.command)
	}
}

func (h *hub) rename(ctx proto.Context, s *seat, name string) {
	switch {
	case !isName(name):
		h.tell(ctx, s, "* nobody can be called %q: %s", name, nameRule)
	case h.names[name] == s:
	case h.names[name] != nil:
		h.tell(ctx, s, "* %s is taken: choose another name", name)
	default:
		old := s.name
		delete(h.names, old)
		s.name, h.names[name] = name, s
		h.tellRoom(ctx, s.room, nil, "* %s is now %s", old, name)
	}
}

const nameRule = "a name is 1 to 20 letters, digits, - or _"

func isName(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return name != "" && len(name) <= maxName
}
