BEGIN TRANSACTION;
CREATE TABLE changes (
	name VARCHAR NOT NULL, 
	version BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "changes" VALUES('forgotten',1);
INSERT INTO "changes" VALUES('items',2);
INSERT INTO "changes" VALUES('user_attributes',0);
CREATE TABLE events (
	event_id VARCHAR NOT NULL, 
	user_id VARCHAR NOT NULL, 
	item_id VARCHAR NOT NULL, 
	timestamp BIGINT NOT NULL, 
	event_type VARCHAR NOT NULL, 
	value DOUBLE, 
	position BIGINT, 
	sender VARCHAR, 
	rec_id VARCHAR, 
	context VARCHAR, 
	batch BIGINT, 
	received BIGINT, 
	PRIMARY KEY (event_id)
);
INSERT INTO "events" VALUES('of ann','ann','item-0',1772366400000000,'view',2.5,3,'key','answer','{"device":"phone"}',NULL,1795903965466444);
INSERT INTO "events" VALUES('of bob','bob','item-0',1772366400000000,'view',2.5,3,'key','answer','{"device":"phone"}',NULL,1795903965471528);
INSERT INTO "events" VALUES('e6a2c1408c1bf9ba39ae9f4b2628cbf8','ann','item-1',1772370000000000,'interaction',NULL,NULL,NULL,NULL,NULL,NULL,1795903965486698);
CREATE TABLE exposures (
	item_id VARCHAR NOT NULL, 
	shown BIGINT NOT NULL, 
	brought BIGINT NOT NULL, 
	PRIMARY KEY (item_id)
);
INSERT INTO "exposures" VALUES('new',4,0);
CREATE TABLE forgotten (
	user_hash VARCHAR NOT NULL, 
	time BIGINT NOT NULL, 
	PRIMARY KEY (user_hash)
);
INSERT INTO "forgotten" VALUES('563d6f3ad932c81530b68cad260998d7e8ed42edea2d6ac55c8442ab67c73034',1795903965727363);
CREATE TABLE forgotten_salt (
	id INTEGER NOT NULL, 
	salt VARCHAR, 
	PRIMARY KEY (id)
);
INSERT INTO "forgotten_salt" VALUES(1,'sha256:1e0f9ea3f7e1b4a82fc6858a68f5092dc85dacd8bd4239e5e68968e7ccbb7f34');
CREATE TABLE impression_options (
	hash VARCHAR NOT NULL, 
	content VARCHAR, 
	PRIMARY KEY (hash)
);
INSERT INTO "impression_options" VALUES('a0da1fce57d0e4f9f0ae4e4cbe040d34dcc046255c6c8d18e97f55aaed0655f0','{"k":1}');
CREATE TABLE impression_size (
	id INTEGER NOT NULL, 
	characters BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "impression_size" VALUES(1,119);
CREATE TABLE impressions (
	rec_id VARCHAR NOT NULL, 
	time BIGINT NOT NULL, 
	user_id VARCHAR, 
	generation VARCHAR NOT NULL, 
	adapter VARCHAR NOT NULL, 
	record VARCHAR NOT NULL, 
	options VARCHAR, 
	shown BOOLEAN, 
	PRIMARY KEY (rec_id)
);
INSERT INTO "impressions" VALUES('answer',1772366400000000,'ann','g','a','{"fallback":null,"history":[],"items":{"item_id":["item-0"],"score":[0.5]},"key":null,"lineage":{},"shown":true}','a0da1fce57d0e4f9f0ae4e4cbe040d34dcc046255c6c8d18e97f55aaed0655f0',1);
CREATE TABLE live_item_vectors (
	item_id VARCHAR NOT NULL, 
	adapter VARCHAR NOT NULL, 
	text_digest VARCHAR NOT NULL, 
	vector BLOB NOT NULL, 
	PRIMARY KEY (item_id, adapter)
);
CREATE TABLE live_items (
	item_id VARCHAR NOT NULL, 
	version BIGINT NOT NULL, 
	record VARCHAR, 
	bytes BIGINT, 
	sender VARCHAR, 
	time BIGINT, 
	PRIMARY KEY (item_id)
);
INSERT INTO "live_items" VALUES('new',1,'{"title":"A new one"}',21,'key',1795903965573797);
INSERT INTO "live_items" VALUES('item-2',2,NULL,NULL,NULL,1795903965612288);
CREATE TABLE repeated_events (
	event_id VARCHAR NOT NULL, 
	sender VARCHAR NOT NULL, 
	user_id VARCHAR NOT NULL, 
	content VARCHAR, 
	timestamp BIGINT, 
	PRIMARY KEY (event_id, sender)
);
CREATE TABLE shadow_answers (
	rec_id VARCHAR NOT NULL, 
	shadow VARCHAR NOT NULL, 
	live VARCHAR NOT NULL, 
	time BIGINT NOT NULL, 
	k INTEGER NOT NULL, 
	overlap DOUBLE NOT NULL, 
	live_ms DOUBLE NOT NULL, 
	shadow_ms DOUBLE NOT NULL, 
	live_cold DOUBLE NOT NULL, 
	shadow_cold DOUBLE NOT NULL, 
	shared VARCHAR, 
	PRIMARY KEY (rec_id, shadow)
);
INSERT INTO "shadow_answers" VALUES('answer','h','g',1772366400000000,1,0.5,1.0,2.0,0.0,0.0,'0');
CREATE TABLE user_attributes (
	user_id VARCHAR NOT NULL, 
	record VARCHAR NOT NULL, 
	time BIGINT NOT NULL, 
	sender VARCHAR, 
	PRIMARY KEY (user_id)
);
INSERT INTO "user_attributes" VALUES('ann','{"age":30}',1795903965646604,NULL);
CREATE TABLE user_attributes_size (
	id INTEGER NOT NULL, 
	users BIGINT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "user_attributes_size" VALUES(1,1);
CREATE INDEX events_by_batch ON events (batch);
CREATE INDEX events_by_rec_id ON events (rec_id, item_id, timestamp) WHERE rec_id IS NOT NULL;
CREATE INDEX events_by_user ON events (user_id, timestamp, position, event_id);
CREATE INDEX repeated_events_by_user ON repeated_events (user_id);
CREATE INDEX impressions_by_options ON impressions (options);
CREATE INDEX impressions_by_origin ON impressions (time, generation, adapter, shown);
CREATE INDEX impressions_by_time ON impressions (time);
CREATE INDEX impressions_by_user ON impressions (user_id);
CREATE INDEX live_items_by_sender ON live_items (sender, bytes);
CREATE INDEX live_items_by_version ON live_items (version);
CREATE INDEX shadow_answers_by_shadow ON shadow_answers (shadow, time);
COMMIT;
