package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/neutree-ai/packaging/internal/pgtest"
)

func TestLost(t *testing.T) {
	database := pgtest.Start(t)
	t.Setenv("URL_OF_TEST", database)
	task := Task{Lost: &Lost{Variable: "URL_OF_TEST", Namespace: "nap", Policy: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{To: []networkingv1.NetworkPolicyPeer{{
			IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8"}}}}}},
	}}}
	// A database from before the tables has no such URLs.
	if got := runOne(t, task); !got.OK() || got.Facts[LostCount] != "0" {
		t.Errorf("%+v", got)
	}
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	_, err = conn.Exec(t.Context(), `CREATE TABLE public.model_providers (name text, base_url text);
INSERT INTO public.model_providers VALUES ('open', 'https://203.0.113.9'), ('own', 'http://nap-cp.nap.svc:3000');
INSERT INTO public.model_providers SELECT format('p%s', lpad(n::text, 2, '0')), 'http://10.0.0.' || n || ':8000'
  FROM generate_series(1, 14) n`)
	if err != nil {
		t.Fatal(err)
	}
	got := runOne(t, task)
	sentences, more := LostIn(got.Facts)
	if !got.OK() || len(sentences) != maxLost || more != 2 {
		t.Fatalf("%d sentences, %d more: %+v", len(sentences), more, got)
	}
	for i, sentence := range sentences {
		want := fmt.Sprintf("model provider p%02d uses 10.0.0.%d, port 8000, which takes [", i+1, i+1)
		if !strings.HasPrefix(sentence, want) {
			t.Errorf("%q, want %q", sentence, want)
		}
	}
	t.Setenv("URL_OF_TEST", "postgresql://nap:s3cret@127.0.0.1:1/nap")
	if got := runOne(t, task); got.OK() || strings.Contains(got.Error, "s3cret") {
		t.Errorf("%+v", got)
	}
}
