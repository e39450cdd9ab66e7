// asynq as a contestant: asynq SCENARIO URL AMOUNT [OPTIONS]; prints lines of JSON.
// What each scenario is says tests/README.md, under "Programs in other languages".
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	kind          = "bench"
	deduplication = time.Hour // as long as ours
	fillers       = 32        // those that enqueue what a run needs, which is not measured
	warmUp        = 300 * time.Millisecond
	warmAtLast    = 2 * time.Second
	warmMessages  = 5000 // as work.py
	dry           = 800 * time.Millisecond
	rest          = 2 * time.Second
)

var options = struct {
	Slots        int `json:"slots"`
	PayloadBytes int `json:"payload_bytes"`
	HandlerMS    int `json:"handler_ms"`

	Messages     []string `json:"messages"`
	Book         string   `json:"book"`
	DrainSeconds int      `json:"drain_seconds"`
}{Slots: 16, PayloadBytes: 100}

var (
	started = time.Now()
	server  *redis.Client
)

type handler func(payload string)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func tell(result map[string]any) {
	line, err := json.Marshal(result)
	check(err)
	fmt.Println(string(line))
}

func finish(result map[string]any) {
	tell(result)
	os.Exit(0)
}

// cpu is what this process has used so far.
func cpu() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// serverSeconds is the processor time that the server has used so far.
func serverSeconds() (seconds float64) {
	info, err := server.Info(context.Background(), "cpu").Result()
	check(err)
	for _, line := range strings.Split(info, "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			used, err := strconv.ParseFloat(value, 64)
			check(err)
			seconds += used
		}
	}
	return seconds
}

func residentMiB() float64 {
	statm, err := os.ReadFile("/proc/self/statm")
	check(err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	check(err)
	return float64(pages*os.Getpagesize()) / (1 << 20)
}

// meter reads all clocks; the difference of two readings is one measurement.
type meter struct {
	at     time.Time
	cpu    time.Duration
	server float64
}

func read() meter { return meter{time.Now(), cpu(), serverSeconds()} }

// since is what `messages` have cost since the reading.
func (began meter) since(messages int) map[string]any {
	ended, count := read(), float64(max(1, messages))
	return map[string]any{
		"per_second": float64(messages) / ended.at.Sub(began.at).Seconds(),
		"client_us":  (ended.cpu - began.cpu).Seconds() / count * 1e6,
		"server_us":  (ended.server - began.server) / count * 1e6,
		"messages":   messages,
	}
}

func send(client *asynq.Client, payload string, how ...asynq.Option) {
	_, err := client.Enqueue(asynq.NewTask(kind, []byte(payload)), how...)
	check(err)
}

// publish enqueues different tasks one by one.
func publish(client *asynq.Client, seconds float64, how ...asynq.Option) {
	count := 0
	step := func() {
		send(client, fmt.Sprintf("%0*d", options.PayloadBytes, count), how...)
		count++
	}
	for first := time.Now(); count < warmMessages && time.Since(first) < warmAtLast; {
		step()
	}
	began, warm := read(), count
	for time.Since(began.at).Seconds() < seconds {
		step()
	}
	finish(began.since(count - warm))
}

func fill(client *asynq.Client, count int) {
	payload, left := strings.Repeat("x", options.PayloadBytes), atomic.Int64{}
	left.Store(int64(count))
	done := make(chan struct{})
	for range fillers {
		go func() {
			for left.Add(-1) >= 0 {
				send(client, payload)
			}
			done <- struct{}{}
		}()
	}
	for range fillers {
		<-done
	}
	finish(map[string]any{})
}

// run is the worker; it returns when the process is told to end.
func run(connection asynq.RedisConnOpt, handle handler) {
	config := asynq.Config{Concurrency: options.Slots, LogLevel: asynq.FatalLevel}
	half := options.HandlerMS / 2
	check(asynq.NewServer(connection, config).Run(asynq.HandlerFunc(
		func(_ context.Context, task *asynq.Task) error {
			if half > 0 {
				time.Sleep(time.Duration(half+rand.IntN(2*half+1)) * time.Millisecond)
			}
			handle(string(task.Payload()))
			return nil
		})))
}

// window measures the tasks that are handled in so many seconds, after a warm-up.
func window(seconds float64) handler {
	var done, last atomic.Int64
	first := make(chan struct{}, 1)
	go func() {
		<-first
		for at := time.Now(); time.Since(at) < warmUp || done.Load() < warmMessages && time.Since(at) < warmAtLast; {
			time.Sleep(20 * time.Millisecond)
		}
		began, before := read(), done.Load()
		time.Sleep(time.Duration(seconds * float64(time.Second)))
		result := began.since(int(done.Load() - before))
		if time.Since(started)-time.Duration(last.Load()) > dry {
			result = map[string]any{"problem": "ran out of tasks"}
		}
		finish(result)
	}()
	return func(string) {
		last.Store(int64(time.Since(started)))
		if done.Add(1) == 1 {
			first <- struct{}{}
		}
	}
}

// waking rests for a while, then sends tasks now and then and tells how long each was on its way.
func waking(client *asynq.Client, total int) handler {
	arrived := make(chan float64)
	go func() {
		time.Sleep(rest)
		before := cpu()
		time.Sleep(rest)
		result := map[string]any{
			"idle_cpu_percent": (cpu() - before).Seconds() / rest.Seconds() * 100,
			"resident_mib":     residentMiB(),
		}
		go func() {
			for range total {
				send(client, strconv.FormatInt(int64(time.Since(started)), 10))
				time.Sleep(time.Duration(150+rand.IntN(300)) * time.Millisecond)
			}
		}()
		delays := make([]float64, total)
		for number := range delays {
			delays[number] = <-arrived
		}
		result["delays_ms"] = delays
		finish(result)
	}()
	return func(payload string) {
		sent, err := strconv.ParseInt(payload, 10, 64)
		check(err)
		arrived <- (time.Since(started) - time.Duration(sent)).Seconds() * 1000
	}
}

// holding never ends a task.
func holding(total int) handler {
	var held atomic.Int64
	return func(string) {
		if held.Add(1) == int64(total) {
			tell(map[string]any{"held": total})
		}
		select {}
	}
}

// write adds one line, whole, to the book outside Redis.
func write(what, message string) {
	book, err := os.OpenFile(options.Book, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	check(err)
	defer book.Close()
	_, err = fmt.Fprintf(book, "%s %s %.3f\n", what, message, float64(time.Now().UnixMilli())/1000)
	check(err)
}

// keepBook is a worker whose tasks take so many seconds and write what they do.
func keepBook(connection asynq.RedisConnOpt, seconds float64) {
	config := asynq.Config{
		Concurrency:              options.Slots,
		LogLevel:                 asynq.WarnLevel,
		ShutdownTimeout:          time.Duration(options.DrainSeconds) * time.Second,
		DelayedTaskCheckInterval: time.Second,
		RetryDelayFunc:           func(int, error, *asynq.Task) time.Duration { return time.Second },
	}
	check(asynq.NewServer(connection, config).Run(asynq.HandlerFunc(
		func(ctx context.Context, task *asynq.Task) error {
			write("began", string(task.Payload()))
			select {
			case <-time.After(time.Duration(seconds * float64(time.Second))):
			case <-ctx.Done():
				return ctx.Err()
			}
			write("ended", string(task.Payload()))
			return nil
		})))
}

func main() {
	scenario, url := os.Args[1], os.Args[2]
	amount, err := strconv.ParseFloat(os.Args[3], 64)
	check(err)
	if len(os.Args) > 4 {
		check(json.Unmarshal([]byte(os.Args[4]), &options))
	}
	connection, err := asynq.ParseRedisURI(url)
	check(err)
	client := asynq.NewClient(connection)
	server = connection.MakeRedisClient().(*redis.Client)
	switch scenario {
	case "publish":
		publish(client, amount)
	case "publish_dedup":
		publish(client, amount, asynq.Unique(deduplication))
	case "fill":
		fill(client, int(amount))
	case "enqueue":
		for _, message := range options.Messages {
			send(client, message, asynq.TaskID(message))
		}
	case "book":
		keepBook(connection, amount)
	case "work":
		run(connection, window(amount))
	case "idle":
		run(connection, waking(client, int(amount)))
	case "start":
		run(connection, func(string) { finish(map[string]any{"cpu_ms": cpu().Seconds() * 1000}) })
	case "hold":
		run(connection, holding(int(amount)))
	case "take":
		run(connection, func(string) { tell(map[string]any{"taken": 1}) })
	}
}
