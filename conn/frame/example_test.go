package frame_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/galago-go/galago/conn/frame"
)

// scan prints each frame of a stream.
func scan(stream string, split bufio.SplitFunc) {
	s := bufio.NewScanner(strings.NewReader(stream))
	s.Split(split)
	for s.Scan() {
		fmt.Printf("%q\n", s.Text())
	}
	if s.Err() != nil {
		fmt.Println(s.Err())
	}
}

func ExampleFixed() {
	scan("PingPong", frame.Fixed(4))
	// Output:
	// "Ping"
	// "Pong"
}

func ExamplePrefixed() {
	var stream []byte
	for _, body := range []string{"hello", "", "world"} {
		stream = frame.AppendPrefix(stream, 2, len(body))
		stream = append(stream, body...)
	}
	scan(string(stream), frame.Prefixed(2, 1000))
	// Output:
	// "hello"
	// ""
	// "world"
}

func ExampleVarint() {
	body := bytes.Repeat([]byte("x"), 300)
	stream := append(frame.AppendVarint(nil, len(body)), body...)
	n, token, err := frame.Varint(1000)(stream, false)
	fmt.Println("a length of", n-len(token), "bytes, a frame of", len(token), err)
	// Output: a length of 2 bytes, a frame of 300 <nil>
}

func ExampleDelimited() {
	scan("name=galago--kind=primate--", frame.Delimited("--", 100))
	// Output:
	// "name=galago"
	// "kind=primate"
}

func ExampleLines() {
	scan("HELO there\r\nQUIT\n", frame.Lines(100))
	// Output:
	// "HELO there"
	// "QUIT"
}

func ExampleError() {
	_, _, err := frame.Prefixed(4, 1000)([]byte("GET / HTTP/1.0\r\n"), false)
	var e *frame.Error
	if errors.As(err, &e) {
		fmt.Println("the peer announced", e.Len, "bytes")
	}
	fmt.Println(errors.Is(err, bufio.ErrTooLong))
	// Output:
	// the peer announced 1195725856 bytes
	// true
}
