package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	netmail "net/mail"
	"strings"
	"sync"
)

// A mail is what one transaction brought. Once it is kept it does not change.
type mail struct {
	number int // from 1, given when it is kept
	from   string
	to     []string
	tls    string // version and cipher suite; empty if it came in clear text
	text   []byte // lines that end with CRLF, without the dots that SMTP adds
	held   int    // bytes of the store's memory that it has
}

// A store has the mail of all connections. They live on several event loops, which run at the same time, so it has a
// lock; it is held for short.
type store struct {
	limit int // bytes

	mu    sync.Mutex
	used  int     // bytes that mails have, kept ones and those that are arriving
	kept  []*mail // the latest ones
	mails int     // accepted so far
	bytes int
	news  chan struct{} // has something if there are mails to print
	shown int           // the number of the last one that was printed; belongs to whoever prints
}

func newStore(limit int) *store { return &store{limit: limit, news: make(chan struct{}, 1)} }

// lend has n bytes more for a mail that is arriving, for which the oldest kept ones may have to go. It fails if those
// that are arriving fill the memory. So strangers can make it hold no more than its limit, however many they are.
func (st *store) lend(m *mail, n int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.used+n > st.limit && len(st.kept) > 0 {
		st.used -= st.kept[0].held
		st.kept[0] = nil
		st.kept = st.kept[1:]
	}
	if st.used+n > st.limit {
		return false
	}
	st.used += n
	m.held += n
	return true
}

// drop forgets a mail that was arriving.
func (st *store) drop(m *mail) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.used -= m.held
	m.held, m.text = 0, nil
}

// keep takes m over, with the bytes that were lent to it, and returns its number.
func (st *store) keep(m *mail) int {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.mails++
	st.bytes += len(m.text)
	m.number = st.mails
	st.kept = append(st.kept, m)
	select {
	case st.news <- struct{}{}:
	default: // it is known already
	}
	return m.number
}

func (st *store) accepted() (mails, bytes int) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.mails, st.bytes
}

// unseen are the kept mails that were not printed. One that had to go before shows as a gap in the numbers.
func (st *store) unseen() []*mail {
	st.mu.Lock()
	defer st.mu.Unlock()
	for i, m := range st.kept {
		if m.number > st.shown {
			st.shown = st.mails
			return append([]*mail(nil), st.kept[i:]...)
		}
	}
	return nil
}

// print prints mails as they come, until ctx ends. It is no callback's business: a terminal that is stopped would stop
// the event loop.
func (st *store) print(ctx context.Context, to io.Writer, whole bool) {
	for {
		select {
		case <-st.news:
			st.printNew(to, whole)
		case <-ctx.Done():
			return
		}
	}
}

func (st *store) printNew(to io.Writer, whole bool) {
	for _, m := range st.unseen() {
		fmt.Fprintln(to, m)
		if whole {
			fmt.Fprintf(to, "%s\n", bytes.ReplaceAll(m.text, crlf, []byte("\n")))
		}
	}
}

// String is a line about the mail. What strangers wrote is quoted: it may hold what terminals obey.
func (m *mail) String() string {
	by := "in clear text"
	if m.tls != "" {
		by = "by " + m.tls
	}
	to := make([]string, len(m.to))
	for i, rcpt := range m.to {
		to[i] = fmt.Sprintf("%q", rcpt)
	}
	return fmt.Sprintf("mail %d from %q to %s, %d bytes, %s, subject %q",
		m.number, m.from, strings.Join(to, ", "), len(m.text), by, m.subject())
}

// subject is what the header says of it, decoded if it can be.
func (m *mail) subject() string {
	parsed, err := netmail.ReadMessage(bytes.NewReader(m.text))
	if err != nil {
		return ""
	}
	subject := parsed.Header.Get("Subject")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
		return decoded
	}
	return subject
}
