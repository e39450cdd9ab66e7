// The smallest server of external metrics: how long the list of a queue is, asked of Redis at that moment over
// one connection. Everybody may ask. Called with the address of Redis, the name of a list with %s in the place
// of the queue, a certificate and its key; prints the port that it listens on.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const group, version = "external.metrics.k8s.io", "v1beta1"

type object = map[string]any

// lists asks one after the other: Redis answers one connection in the order of its questions.
type lists struct {
	mutex   sync.Mutex
	socket  net.Conn
	answers *bufio.Reader
}

func (l *lists) ask(words ...string) (string, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if _, err := fmt.Fprintf(l.socket, "%s\r\n", strings.Join(words, " ")); err != nil {
		return "", err
	}
	line, err := l.answers.ReadString('\n')
	if err == nil && strings.HasPrefix(line, "-") {
		err = fmt.Errorf("%s", line)
	}
	return strings.TrimSpace(line), err
}

func say(answer http.ResponseWriter, about object) {
	answer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(answer).Encode(about)
}

func main() {
	if len(os.Args) != 5 {
		log.Fatal("usage: REDIS LIST CERTIFICATE KEY")
	}
	address, list, certificate, key := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	socket, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	redis := &lists{socket: socket, answers: bufio.NewReader(socket)}
	if _, err := redis.ask("CLIENT", "SETNAME", "external-metrics"); err != nil {
		log.Fatal(err)
	}
	place := "/apis/" + group + "/" + version
	http.HandleFunc("GET "+place, func(answer http.ResponseWriter, _ *http.Request) {
		say(answer, object{
			"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group + "/" + version,
			"resources": []object{{
				"name": "messages", "singularName": "", "namespaced": true,
				"kind": "ExternalMetricValueList", "verbs": []string{"get"},
			}},
		})
	})
	http.HandleFunc("GET "+place+"/namespaces/{namespace}/messages", func(answer http.ResponseWriter, question *http.Request) {
		queue := strings.TrimPrefix(question.URL.Query().Get("labelSelector"), "queue=")
		length, err := redis.ask("LLEN", fmt.Sprintf(list, queue))
		if err == nil {
			length = strings.TrimPrefix(length, ":")
			_, err = strconv.Atoi(length)
		}
		if err != nil {
			http.Error(answer, err.Error(), http.StatusServiceUnavailable)
			return
		}
		say(answer, object{
			"kind": "ExternalMetricValueList", "apiVersion": group + "/" + version, "metadata": object{},
			"items": []object{{
				"metricName": "messages", "metricLabels": object{"queue": queue},
				"timestamp": time.Now().UTC().Format(time.RFC3339), "value": length,
			}},
		})
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	log.Fatal(http.ServeTLS(listener, nil, certificate, key))
}
