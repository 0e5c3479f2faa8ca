package authn

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
)

// challenge is what kube-apiserver said to clients while it had basic authentication (up to 1.18).
const challenge = `Basic realm="kubernetes-master"`

const (
	// maxBcryptCost bounds what a try costs: 16 are some seconds.
	maxBcryptCost = 16
	// maxBcryptPassword is the number of bytes of a password that bcrypt looks at.
	maxBcryptPassword = 72
	// maxRemembered is how many good passwords are remembered, so that a hash is not computed for every request.
	maxRemembered = 4096
)

// basic authenticates by a password in a file of lines "password,user,uid[,"group1,group2"]", the format that kube-apiserver
// had. Passwords that begin with $2 are bcrypt hashes. What is compared is compared in constant time, and a user who is not
// there costs what one who is does.
type basic struct {
	accounts map[string]account
	dummy    account
	key      [32]byte
	good     *cache.LRUExpireCache
	// slots bounds how many hashes are computed at a time: they are slow on purpose, and clients can ask for them.
	slots chan struct{}
}

// account is one line of the file.
type account struct {
	user *user.DefaultInfo
	hash []byte   // bcrypt, or nil
	sum  [32]byte // of the password, keyed, when there is no hash
}

var errPassword = errors.New("invalid username/password combination")

// newBasic reads the file. No error has a password in it.
func newBasic(path string) (*basic, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := &basic{
		accounts: map[string]account{}, good: cache.NewLRUExpireCache(maxRemembered),
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	if _, err := rand.Read(b.key[:]); err != nil {
		return nil, err
	}
	reader := csv.NewReader(file)
	reader.FieldsPerRecord = -1
	for {
		record, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("password file %q: %w", path, err)
		}
		if err := b.add(record); err != nil {
			return nil, fmt.Errorf("password file %q: %w", path, err)
		}
	}
	return b, b.makeDummy()
}

func (b *basic) add(record []string) error {
	if len(record) < 3 {
		return fmt.Errorf("must have at least 3 columns (password, user name, user uid), found %d", len(record))
	}
	password, name := record[0], record[1]
	if password == "" || name == "" {
		return errors.New("a line has no password or no user name")
	}
	if _, ok := b.accounts[name]; ok {
		return fmt.Errorf("the user %q is there twice", name)
	}
	a := account{user: &user.DefaultInfo{Name: name, UID: record[2]}}
	if len(record) > 3 && record[3] != "" {
		a.user.Groups = strings.Split(record[3], ",")
	}
	if strings.HasPrefix(password, "$2") {
		cost, err := bcrypt.Cost([]byte(password))
		if err != nil {
			return fmt.Errorf("the password hash of %q is not one of bcrypt", name)
		}
		if cost > maxBcryptCost {
			return fmt.Errorf("the password hash of %q costs %d, more than %d", name, cost, maxBcryptCost)
		}
		a.hash = []byte(password)
	} else {
		a.sum = b.sum("", password)
	}
	b.accounts[name] = a
	return nil
}

// makeDummy makes the account that is compared with when there is none of the name: hashed when one is, as slow as any.
func (b *basic) makeDummy() error {
	cost := 0
	for _, a := range b.accounts {
		if c, err := bcrypt.Cost(a.hash); err == nil {
			cost = max(cost, c)
		}
	}
	if cost == 0 {
		return nil
	}
	hash, err := bcrypt.GenerateFromPassword(b.key[:], cost)
	b.dummy.hash = hash
	return err
}

// sum is what is known of a user and password: nothing, without the key.
func (b *basic) sum(name, password string) (sum [32]byte) {
	mac := hmac.New(sha256.New, b.key[:])
	fmt.Fprintf(mac, "%d:%s", len(name), name)
	io.WriteString(mac, password)
	mac.Sum(sum[:0])
	return sum
}

func (b *basic) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return nil, false, nil
	}
	a, known := b.accounts[name]
	if !known {
		a = b.dummy
	}
	good, err := b.check(r.Context(), name, password, a)
	if err != nil {
		return nil, false, err
	}
	if !known || !good {
		return nil, false, errPassword
	}
	return &authenticator.Response{User: a.user}, true, nil
}

func (b *basic) check(ctx context.Context, name, password string, a account) (bool, error) {
	if a.hash == nil {
		sum := b.sum("", password)
		return subtle.ConstantTimeCompare(sum[:], a.sum[:]) == 1, nil
	}
	if len(password) > maxBcryptPassword {
		return false, nil
	}
	key := b.sum(name, password)
	if _, ok := b.good.Get(key); ok {
		return true, nil
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-b.slots }()
	if bcrypt.CompareHashAndPassword(a.hash, []byte(password)) != nil {
		return false, nil
	}
	b.good.Add(key, true, time.Minute)
	return true, nil
}
