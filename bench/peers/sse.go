// The usual way to do it in Go: a broker with an RWMutex and a buffered channel a client, and a flush
// a line. Lossless by back-pressure: the source waits while a client's channel is full.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

type source struct {
	Lines   int      `json:"lines"`
	Rate    float64  `json:"rate"`
	Gate    string   `json:"gate"`
	Command []string `json:"command"`
}

type event struct {
	number int
	text   string
}

type subscriber struct {
	events chan event
	gone   <-chan struct{}
}

type broker struct {
	mutex       sync.RWMutex
	subscribers map[*subscriber]struct{}
}

func (b *broker) subscribe(gone <-chan struct{}) *subscriber {
	s := &subscriber{make(chan event, 256), gone}
	b.mutex.Lock()
	b.subscribers[s] = struct{}{}
	b.mutex.Unlock()
	return s
}

func (b *broker) unsubscribe(s *subscriber) {
	b.mutex.Lock()
	delete(b.subscribers, s)
	b.mutex.Unlock()
}

func (b *broker) publish(number int, text string) {
	b.mutex.RLock()
	defer b.mutex.RUnlock()
	for s := range b.subscribers {
		select {
		case s.events <- event{number, text}:
		case <-s.gone:
		}
	}
}

func (b *broker) close() {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	for s := range b.subscribers {
		close(s.events)
		delete(b.subscribers, s)
	}
}

var started = time.Now()

// CLOCK_MONOTONIC in nanoseconds, which is what the readers compare with.
var offset = monotonic() - time.Since(started).Nanoseconds()

func line(number int) string {
	const fill = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	return fmt.Sprintf("~%09d %019d %s", number, offset+time.Since(started).Nanoseconds(), fill)
}

func (b *broker) run(s source) {
	for {
		if _, err := os.Stat(s.Gate); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if len(s.Command) > 0 {
		command := exec.Command(s.Command[0], s.Command[1:]...)
		output, err := command.StdoutPipe()
		if err == nil {
			err = command.Start()
		}
		if err != nil {
			panic(err)
		}
		lines := bufio.NewScanner(output)
		for number := 1; lines.Scan(); number++ {
			b.publish(number, lines.Text())
		}
		command.Wait()
	} else {
		start := time.Now()
		for number := 0; number < s.Lines; number++ {
			if s.Rate > 0 {
				due := start.Add(time.Duration(float64(number) / s.Rate * 1e9))
				time.Sleep(time.Until(due))
			}
			b.publish(number+1, line(number))
		}
		if s.Rate > 0 {
			// As in bench/lines.py.
			time.Sleep(200 * time.Millisecond)
		}
	}
	b.close()
}

func main() {
	b := &broker{subscribers: map[*subscriber]struct{}{}}
	http.HandleFunc("/source", func(w http.ResponseWriter, r *http.Request) {
		var s source
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		go b.run(s)
		w.WriteHeader(http.StatusNoContent)
	})
	http.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		s := b.subscribe(r.Context().Done())
		defer b.unsubscribe(s)
		w.Header().Set("Content-Type", "text/event-stream")
		w.WriteHeader(http.StatusOK)
		flusher := w.(http.Flusher)
		flusher.Flush()
		for {
			select {
			case e, open := <-s.events:
				if !open {
					fmt.Fprint(w, "event: end\ndata:\n\n")
					return
				}
				fmt.Fprintf(w, "id: %d\ndata: %s\n\n", e.number, e.text)
				flusher.Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(strings.Replace("Listening on http://ADDRESS", "ADDRESS", listener.Addr().String(), 1))
	panic(http.Serve(listener, nil))
}
